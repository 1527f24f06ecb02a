"""Stochastic gradient descent as in PyTorch, which the papers use."""

import keras
from keras import ops


class TorchSGD(keras.optimizers.SGD):
    """SGD with momentum whose weight decay is part of the gradient.

    velocity = momentum · velocity + gradient + decay · weight; weight -= rate · velocity. The
    velocity of Keras's SGD includes the learning rate, so it follows a drop only after some steps;
    its `weight_decay` bypasses the momentum. An L2 term in the loss would be computed in each step.

    Args:
        learning_rate: The learning rate.
        momentum: The momentum.
        decay: Weight decay of every weight.
    """

    def __init__(self, learning_rate, momentum=0.9, decay=5e-4):
        super().__init__(learning_rate, momentum)
        self.decay = decay

    def update_step(self, gradient, variable, learning_rate):
        """Update one weight and its velocity."""
        velocity = self.momentums[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype) + self.decay * variable
        self.assign(velocity, self.momentum * velocity + gradient)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * velocity)
