"""Recognition: error rates on real captures, and speed."""
