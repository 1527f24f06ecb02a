"""The former name of `OutputsMSE`."""

import keras

from keras_kd.losses.outputs_mse import OutputsMSE


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitsMSE(OutputsMSE):
    """The former name of `OutputsMSE`, for saved files and scripts: the outputs may be numbers.

    Its name in the history is `"logits_mse"`, as before.

    Example:
        >>> kd.losses.LogitsMSE()(teacher_outputs, student_outputs)
    """
