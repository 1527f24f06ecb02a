"""What comes of a compression."""

from dataclasses import dataclass

import keras

from keras_kd.compression.layer_plan import LayerPlans


@dataclass(frozen=True)
class Result:
    """A compressed student.

    Attributes:
        model: The student: after pruning and clustering a plain `keras.Model` of the kind that went
            in; after quantization-aware training a `keras.Model` for
            `kd.export.to_tflite(model, path, "int8")`.
        history: By name what was measured at the end of each epoch, as in `History.history`.
        layers: What was done to each layer; printed, a table.
    """

    model: keras.Model
    history: dict[str, list[float]]
    layers: LayerPlans
