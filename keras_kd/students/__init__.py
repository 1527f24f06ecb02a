"""Students that are built from others: the teacher's head on a small body."""
