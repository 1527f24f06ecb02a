"""Teacher-Class Network: one small student per chunk of a teacher representation."""
