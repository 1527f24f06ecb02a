"""Accuracy, size and latency of compressed and exported models."""
