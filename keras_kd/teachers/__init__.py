"""The teachers: frozen models, what they say of a batch, and how much each one counts."""
