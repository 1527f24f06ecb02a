"""What `keras-kd` does: one file for each command, and what they share."""
