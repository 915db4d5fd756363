"""What the headers of each image format say, read with bounds before any decoder sees the file."""
