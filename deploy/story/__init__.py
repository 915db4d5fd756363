"""What `make run` tells: the loop closing, on generated people or on captures of yours."""
