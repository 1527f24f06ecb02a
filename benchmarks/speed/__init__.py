"""Time of a training step, of its parts and of the first step."""
