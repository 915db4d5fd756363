"""The data path: speed, memory and growth."""
