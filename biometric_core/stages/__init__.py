"""What can be run: file = command = function."""
