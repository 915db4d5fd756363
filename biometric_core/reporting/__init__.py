"""What people read, whatever it is about: pictures, sections, pages, words."""
