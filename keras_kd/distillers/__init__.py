"""Distillers: Keras models whose `fit` trains a student."""
