"""What is on record: drift and decisions. Below all who read it."""
