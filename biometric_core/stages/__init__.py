"""What can be run: file = function, and for most of them = command."""
