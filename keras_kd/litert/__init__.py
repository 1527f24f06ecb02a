"""LiteRT: `.tflite` files, their interpreter process and their cost."""
