"""Quantization-aware training: the student is trained with the rounding of its int8 file."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.compression.engines import check_engine
from keras_kd.compression.kernels import zero_fraction
from keras_kd.compression.layer_plan import LayerPlans, Result, resolve_skip
from keras_kd.compression.qat.calibration import SAMPLES, calibrate, settle
from keras_kd.compression.qat.quantize import Rounding, build_quantized, rounded_kernels
from keras_kd.compression.tfmot.convert import open_student
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.quantize_aware import (
    prepare_student,
    quantize_aware_in_tf_keras,
)
from keras_kd.compression.training import Training
from keras_kd.training.keywords import explain_keywords


@explain_keywords(Training)
def quantize_aware(
    student: keras.Model,
    *,
    data: Any,
    epochs: int,
    preserve_sparsity: bool = True,
    preserve_clusters: bool = True,
    skip: Sequence[str] = (),
    bits: int = 8,
    engine: str = "native",
    custom: Custom | None = None,
    **training: Any,
) -> Result:
    """Train a student with the rounding of its int8 file.

    The student is rebuilt from layers that LiteRT runs in 8 bits: batch normalizations are folded
    into the kernels before them, attention becomes projections and matrix products, and nested
    models are opened. The forward pass then rounds weights and activations as the file does, in
    ranges that start at the values of the first samples and are trained. Layers without an 8-bit
    form, such as layer normalizations and custom layers, stay in float; `Result.layers` lists them.

    The result is a Keras model that trains with `kd.Distiller` as any other and is saved as a
    `.keras` file. Its layers have the names of the student's, `outer_inner` inside a nested model.

    If the student was pruned or clustered before, its zeros and its few values are preserved.

    Args:
        student: A built and trained Functional or Sequential `keras.Model`, which is not changed.
        data: Training data; see `kd.compression.Training`. The first 300 samples or more determine
            the initial ranges.
        epochs: Number of epochs.
        preserve_sparsity: Whether zeros are preserved in kernels with at least 10 % zeros. Defaults
            to `True`.
        preserve_clusters: Whether kernels in which most weights share their value with another one
            keep these values, which are trained. Defaults to `True`.
        skip: Layers to leave in float, or their names. Only for `engine="native"`. Defaults to
            none.
        bits: 8, or 4 for weights of 4 bits in convolutions and dense layers; other layers
            (depthwise and transposed convolutions, embeddings) keep 8. Only for `engine="native"`.
            Defaults to 8.
        engine: `"native"`, or `"tfmot"`, which converts the student to tf_keras and uses
            tensorflow-model-optimization: it supports fewer layers, and its result cannot be saved.
            Defaults to `"native"`.
        custom: For `engine="tfmot"`, as for `to_tf_keras`. Defaults to `None`.
        **training: Other arguments of `kd.compression.Training`: `optimizer`, `loss`, `metrics`,
            `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`, `validation_data`,
            `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`. Its model rounds as the file does; `kd.export.to_tflite(model, path, "int8")`
        writes that file without calibration.

    Raises:
        ValueError: If an argument is invalid, the student is subclassed, or no layer can be
            quantized; with `engine="tfmot"` also if a layer cannot be converted to tf_keras.
        ImportError: If tensorflow-model-optimization is needed and not installed.

    Example:
        >>> result = kd.compression.quantize_aware(
        ...     student, data=train, epochs=3, loss=loss, teachers=teacher
        ... )
        >>> result.model.save("aware.keras")
        >>> file = kd.export.to_tflite(result.model, "student.tflite", "int8")

    Reference:
        Jacob et al. 2018, arXiv:1712.05877.
    """
    check_engine(engine, custom=custom)
    _check_bits(bits)
    plan = Training(data=data, epochs=epochs, **training)
    if engine == "tfmot":
        if len(skip) or bits != 8:
            raise ValueError(
                "`skip` and `bits` belong to the native engine: tensorflow-model-optimization "
                "quantizes every layer that it can to 8 bits. Received: engine='tfmot', "
                f"skip={skip!r}, bits={bits}"
            )
        return quantize_aware_in_tf_keras(
            student, plan, preserve_sparsity, preserve_clusters, custom
        )
    plan.require_plain_weights()
    rounding = Rounding(preserve_sparsity, preserve_clusters, bits)
    model, layers = _build(student, plan, rounding, skip, next(plan.sample_batches(1)))
    layers.announce("quantized", student.name, plan.verbose)
    calibrate(model, plan.sample_batches(SAMPLES))

    def measure() -> dict[str, float]:
        return {"sparsity": zero_fraction(rounded_kernels(model))}

    history = plan.distill(model, measure=measure)
    settle(model)
    return Result(model, history, layers)


def build_for_training(
    student: keras.Model,
    *,
    preserve_sparsity: bool = True,
    preserve_clusters: bool = True,
    skip: Sequence[str] = (),
    bits: int = 8,
    engine: str = "native",
    custom: Custom | None = None,
    **training: Any,
) -> keras.Model:
    """Return the model that `quantize_aware` trains with the same arguments, untrained."""
    plan = Training(**training)
    preserve = (preserve_sparsity, preserve_clusters)
    if engine == "tfmot":
        return prepare_student(student, plan, *preserve, custom).wrapped.model
    return _build(student, plan, Rounding(*preserve, bits), skip)[0]


def _check_bits(bits: int) -> None:
    if bits not in (4, 8):
        raise ValueError(
            f"Expected 4 or 8 bits per weight, those that LiteRT runs. Received: bits={bits!r}."
        )


def _build(
    student: keras.Model, plan: Training, rounding: Rounding, skip: Sequence[str], x: Any = None
) -> tuple[keras.Model, LayerPlans]:
    skip = resolve_skip(skip, student, open_student(student).calls)
    return build_quantized(student, rounding, plan.student_taps(student), skip, x)
