"""The evaluation step of a distiller, with and without a loss on the labels."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_kd.cache.prepared import compare_preprocessing, warn_of_generators
from keras_kd.distillers.arguments import SAME_VIEW
from keras_kd.distillers.input_checks import check_batches
from keras_kd.distillers.keras_interface import KerasInterface
from keras_kd.distillers.shared_inputs import list_inputs
from keras_kd.losses import DistillationLoss
from keras_kd.models.taps import Tap
from keras_kd.models.user_warnings import warn_user
from keras_kd.teachers.knowledge import JoinedInputs, joined_spec, unpack_batch
from keras_kd.training import backend
from keras_kd.training.finite_checks import batch_values
from keras_kd.training.label_checks import check_labels
from keras_kd.training.labels import Labels
from keras_kd.training.loss_trackers import batch_size

#: The share of predictions that are the teachers', in the results of an evaluation.
AGREEMENT = "agreement"


class Evaluation(KerasInterface):
    """Evaluates the student: on the labels, or without a compiled loss on the teachers.

    With a compiled loss the student runs alone. With `compile(loss=None)` the teachers run too, and
    the results hold `loss`, the distillation losses as in training (without noise), and
    `agreement`, the share of samples whose predicted class is that of the teachers. If a teacher
    has no outputs for the data, they hold neither.
    """

    #: Whether the preprocessing of live teachers was compared on joined data.
    _compared = False

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the student; see the class and `keras.Model.evaluate`."""
        if self._has_nothing_to_evaluate(joined_spec(x) is not None):
            return {} if kwargs.get("return_dict") else []
        if self.compiled_loss_fn is None and self.step_owner is None:  # `fit` has done it.
            self.compare_preprocessing(x)
        return super().evaluate(x, y, *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Run one step on a batch; see `keras.Model.train_on_batch`."""
        self._compare_batch(x)
        return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the student on a batch; see `keras.Model.test_on_batch`."""
        if self._has_nothing_to_evaluate(isinstance(x, JoinedInputs)):
            return {} if kwargs.get("return_dict") else []
        self._compare_batch(x)
        return super().test_on_batch(x, y, *args, **kwargs)

    def compare_preprocessing(self, x: Any) -> None:
        """Compare the preprocessing of live teachers on joined data with that of the cache.

        Raises:
            CacheError: If it returns other values for the first samples.
        """
        self._compared |= compare_preprocessing(self.teachers, x)

    def _check_validation(self, data: Any) -> Any:
        """Return validation data whose labels are checked; see `check_labels`."""
        if not isinstance(data, (tuple, list)):
            self._check_shapes(data, None, None, training=False)
            self.compare_preprocessing(data)
            return check_labels(data, None, self._range_reader)
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        self._check_shapes(x, y, weights, training=False)
        self.compare_preprocessing(x)
        check_labels(x, y, self._range_reader)
        return data

    def _check_shapes(self, *data: Any, training: bool = True) -> None:
        labels = None if self.compiled_loss_fn is None else self._label_reader
        models = list_inputs(self, joined_spec(data[0]) is not None, training)
        check_batches(data, models, labels)

    def evaluation_step(self, data: Any) -> dict[str, Any]:
        """Evaluate the student on a batch."""
        inputs, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, joined = unpack_batch(inputs)
        labels = self.read_labels(y)
        checked = {} if self.drops_assertions else batch_values(None, labels, None)
        with backend.after(backend.finite_assertions(checked)):
            y_pred, taps, knowledge = self._run_for_evaluation(x, joined, labels)
        with _frozen_state(self.distillation_losses):
            self.compute_loss(x, labels, y_pred, sample_weight, False, knowledge, taps)
        names = self._evaluated_losses(taps)
        share = None if taps is None else self.objective.agreement(knowledge, taps)
        if share is not None:
            self._trackers.update({AGREEMENT: (share, batch_size(x))})
            names.append(AGREEMENT)
        logs = self.compute_metrics(x, labels, y_pred, sample_weight)
        return backend.stack_logs(self._trackers.select(logs, names))

    def _run_for_evaluation(self, x: Any, joined: Any, labels: Labels) -> tuple[Any, Any, Any]:
        """Return the student's outputs; without a compiled loss also its taps and the targets."""
        if self.compiled_loss_fn is not None or self._why_no_targets(joined is not None):
            return self(x, training=False), None, None
        outputs = self.objective.run_teachers(x, self._select_joined(joined, x))
        knowledge = self.objective.teach_before(outputs, labels.given, False, x)
        y_pred, taps = self.objective.student.for_inference()(x)
        if knowledge is None:
            knowledge = self.objective.teach_during(taps, labels.given, backend.replica_id(), False)
        return y_pred, taps, knowledge

    def _compare_batch(self, x: Any) -> None:
        """Compare the preprocessing of live teachers on a joined batch, if it is the first one."""
        if not self._compared:
            self.compare_preprocessing(x)

    def _has_nothing_to_evaluate(self, joined: bool) -> bool:
        """Return whether there is neither a loss nor a metric, with a warning that says why."""
        measured = self.compiled_loss_fn or self.compiled_metrics_fn
        reason = None if measured or not self.compiled else self._why_no_targets(joined)
        if reason is not None:
            warn_user(f"'{self.name}' has nothing to evaluate: no loss on labels, and {reason}.")
        return reason is not None

    def _why_no_targets(self, joined: bool) -> str | None:
        """Return why there are no teacher outputs for some data, `None` if there are."""
        if not self.distillation_losses:
            return "no distillation loss"
        idle = [teacher.name for teacher in self.teachers if teacher.is_cached]
        if idle and not joined:
            return f"the outputs of {idle} only in a cache; pass `cache.join(dataset)` as data"
        return self.objective.why_no_targets()

    def _evaluated_losses(self, taps: Any) -> list[str]:
        """Return the names of the losses that have a value, in the order of the results."""
        if self.compiled_loss_fn is not None:
            return ["loss", *self._label_losses[:1]]
        return [] if taps is None else ["loss", *self.objective.names]

    def _select_joined(self, joined: Any, x: Any) -> list[dict[Tap, Any]] | None:
        """Return each teacher's outputs by tap from data that a cache joined them to."""
        if joined is None or not self.teachers:
            return None
        if self.augment is not None and self.same_view:
            raise ValueError(
                f"{type(self).__name__}: a cache holds the teacher outputs for the original "
                f"inputs, not for the augmented view of the student. {SAME_VIEW}"
            )
        if not self._compared:
            warn_of_generators(self.teachers)
            self._compared = True
        with backend.outside_graph():  # The weights of a live teacher are fingerprinted here, once.
            found = self.objective.locate(joined, x)
        return [{tap: joined[k][t] for tap, (k, t) in places.items()} for places in found]


@contextlib.contextmanager
def _frozen_state(losses: Iterable[DistillationLoss]) -> Iterator[None]:
    """Let losses with a state, such as a memory bank, leave it unchanged."""
    for loss in losses:
        loss.updates_state = False
    try:
        yield
    finally:
        for loss in losses:
            loss.updates_state = True
