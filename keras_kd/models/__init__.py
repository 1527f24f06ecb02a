"""What a Keras model shows of itself: named places (taps) and the logits behind its outputs."""
