"""Files as people have them: read as any viewer shows them, or refused with a reason."""
