"""What is compared, and how sure we are."""
