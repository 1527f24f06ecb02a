"""Training of a student that runs in tf_keras, with a distiller of Keras 3."""

import functools
from collections.abc import Callable
from typing import Any

from keras_kd.compression.tfmot.callbacks import adapt_callbacks
from keras_kd.compression.tfmot.taps import TfKerasTappedModel
from keras_kd.compression.tfmot.wrapper import WrappedModel
from keras_kd.compression.training import Training
from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.distillation_objective import DistillationObjective


def fit_in_tf_keras(
    plan: Training,
    wrapped: WrappedModel,
    measure: Callable[[], dict[str, float]] = dict,
    ready: Callable[[], bool] = lambda: True,
) -> dict[str, list[float]]:
    """Train a student that runs in tf_keras and return the history.

    Args:
        plan: How it is trained.
        wrapped: The student; its weights are changed.
        measure: As for `Training.distill`. Defaults to no values.
        ready: As for `Training.distill`. Defaults to always.
    """
    distiller = _distiller_in_tf_keras(wrapped, **plan.distiller_arguments)
    # XLA does not support the operations of tensorflow-model-optimization in a step.
    plan.compile(distiller, jit_compile=False)
    adapted = adapt_callbacks(plan.callbacks, wrapped.layer.tf_keras_model)
    return plan.fit(distiller, wrapped.layer.variables, adapted, measure, ready)


def _distiller_in_tf_keras(
    wrapped: WrappedModel,
    student_loss_weight: float,
    augment: Any,
    same_view: bool,
    **objective: Any,
) -> BaseDistiller:
    """Return a distiller whose student runs in tf_keras, with the taps of the Keras 3 student."""
    tapped = functools.partial(TfKerasTappedModel, wrapped)
    terms = DistillationObjective(wrapped.origin, **objective, tapped=tapped)
    return BaseDistiller(
        wrapped.model, terms, student_loss_weight, augment=augment, same_view=same_view
    )
