"""Knowledge distillation for Keras: from a trained teacher to a verified int8 .tflite."""
