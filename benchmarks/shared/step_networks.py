"""Teacher and student of the step timings, without Keras so that PyTorch can use them.

A teacher of about 1.2 million parameters (four blocks of a 3×3 convolution) and a student of about
50,000 (three blocks), on batches of 128 images.
"""

SHAPES = {"28×28×1": (28, 28, 1), "32×32×3": (32, 32, 3)}
# Channels of each block, and units of the dense layer.
TEACHERS = {"28×28×1": ((52, 104, 208, 416), 380), "32×32×3": ((48, 96, 192, 384), 200)}
STUDENTS = {"28×28×1": ((16, 32, 64), 48), "32×32×3": ((16, 32, 64), 26)}
BATCH, CLASSES, TEMPERATURE, LABEL_WEIGHT = 128, 10, 4.0, 0.5
