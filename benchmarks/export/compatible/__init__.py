"""Models of the compatibility table, built from scratch with small sizes."""
