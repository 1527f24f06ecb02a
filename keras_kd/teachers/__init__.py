"""Teachers: frozen models, their outputs for a batch, and their weights."""
