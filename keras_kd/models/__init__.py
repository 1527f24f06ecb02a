"""Inspect Keras models: graphs, taps, logits, copies and precision."""
