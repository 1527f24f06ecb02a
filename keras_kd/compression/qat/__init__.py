"""Quantization-aware training in plain Keras 3."""
