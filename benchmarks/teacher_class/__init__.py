"""Accuracy, size and training time of Teacher-Class Networks."""
