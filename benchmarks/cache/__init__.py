"""Speed, memory and size of the knowledge cache."""
