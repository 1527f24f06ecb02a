"""Small trainings over tasks, layouts, inputs and forms of labels, and their losses in NumPy."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers

import keras_kd as kd

SAMPLES, FEATURES = 6, 3
UNITS = {"classes": (2, 4), "binary": (1,), "labels": (2, 4), "values": (1, 3)}
ACTIVATIONS = {
    "classes": (None, "softmax"),
    "binary": (None, "sigmoid"),
    "labels": (None, "sigmoid"),
    "values": (None, "tanh"),
}
#: How many of them are not for classes only.
GENERAL = 4
#: Distillation losses: by task if `None`.
LOSSES = (None, "soft_targets", "outputs_mse", "dist", "decoupled_kd")
FORMS = ("rows", "floats", "bools", "integers", "indices", "column", "bytes", "float_indices")
MISSING = ("none", "some", "all", "partly")
OUT_OF_RANGE = "out of range"


@dataclass(frozen=True)
class Case:
    """A training of one batch, with a student that does not move.

    Attributes:
        task: The task.
        units: Units of the output.
        places: Axes between the samples and the channels: none, steps, or pixels.
        first: Whether the channels of pixels are the first axis.
        inputs: `"array"`, `"dict"` (with keys that no model has) or `"split"` (a dict of which
            student and teacher take different keys).
        form: Shape and type of the labels, one of `FORMS`, or `OUT_OF_RANGE`.
        missing: Which labels are missing, one of `MISSING`.
        weights: `None`, or the axes of the sample weights: `"sample"` or `"place"`.
        heads: Activations of student and teacher.
        loss: One of `LOSSES`.
        entry: `"fit"` or `"train_on_batch"`, which is faster.
    """

    task: str
    units: int
    places: tuple
    first: bool
    inputs: str
    form: str
    missing: str
    weights: str | None
    heads: tuple
    loss: str | None
    entry: str = "fit"

    @property
    def usual(self):
        """Whether a user expects that it works, so that it must not be rejected."""
        forms = ("rows", "indices", "column") if self.task == "classes" else ("rows", "floats")
        losses = {"classes": LOSSES, "values": (None, "outputs_mse")}
        fits = self.loss in losses.get(self.task, (None, "soft_targets", "outputs_mse"))
        whole = self.missing in ("none", "some") and (self.weights != "place" or self.places)
        # Keras computes it for classes on the last axis only.
        sparse = self.task == "classes" and self.form != "rows" and is_first(self)
        return self.form in forms and fits and bool(whole) and not sparse

    @property
    def possible(self):
        """Whether labels of this form can be missing, as truth values and bytes cannot."""
        never = ("bools", "bytes", "integers") if self.task == "values" else ("bools", "bytes")
        return self.missing == "none" or self.form not in never


def case_strategy(task):
    """Return a strategy of cases of a task."""
    heads = st.sampled_from(ACTIVATIONS[task])
    forms = [*FORMS, OUT_OF_RANGE] if task == "classes" else FORMS[:GENERAL]
    # As wide as no output is: Keras 3.15 adds a bias of as many units along the width.
    places = st.sampled_from([(), (2,), (2, 5)])
    cases = st.builds(
        Case,
        task=st.just(task),
        units=st.sampled_from(UNITS[task]),
        places=places,
        first=st.booleans(),
        inputs=st.sampled_from(["array", "dict", "split"]),
        form=st.sampled_from(forms),
        missing=st.sampled_from(MISSING),
        weights=st.sampled_from([None, "sample", "place"]),
        heads=st.tuples(heads, heads),
        loss=st.sampled_from(LOSSES),
        entry=st.sampled_from([*["train_on_batch"] * 5, "fit"]),
    )
    return cases.filter(lambda case: case.possible)


def is_first(case):
    """Whether the channels come before the places; only pixels have that layout."""
    return case.first and len(case.places) == 2


@functools.cache
def model(units, places, first, activation, key, seed):
    """A linear model of the channels at each place; it takes an array, or a dict of one key."""
    keras.utils.set_random_seed(seed)
    shape = (FEATURES, *places) if first else (*places, FEATURES)
    x = keras.Input(shape, name=key or "x")
    if first:
        conv = layers.Conv2D(units, 1, data_format="channels_first", name="head")
        y = conv(x)
        if activation == "softmax":
            y = layers.Softmax(axis=1)(y)
        elif activation is not None:
            y = layers.Activation(activation)(y)
    else:
        y = layers.Dense(units, activation, name="head")(x)
    built = keras.Model({key: x} if key else x, y, name=f"model_{seed}")
    rng = np.random.default_rng(seed)
    built.set_weights([rng.normal(size=w.shape) for w in built.get_weights()])
    return built


def linear(net, x, first):
    """The values before the activation, with the channels last."""
    kernel, bias = (weight.astype("float64") for weight in net.get_weights())
    x = np.moveaxis(x, 1, -1) if first else x
    return x @ kernel.reshape(FEATURES, -1) + bias


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class Training:
    """The models, data and expected values of a case."""

    def __init__(self, case):
        self.case, first = case, is_first(case)
        rng = np.random.default_rng(0)
        shape = (SAMPLES, FEATURES, *case.places) if first else (SAMPLES, *case.places, FEATURES)
        arrays = {key: rng.normal(size=shape).astype("float32") for key in "abc"}
        own, other = {"array": (None, None), "dict": ("b", "b"), "split": ("b", "c")}[case.inputs]
        build = functools.partial(model, case.units, case.places, first)
        self.student = build(case.heads[0], own, 1)
        self.teacher = build(case.heads[1], other, 2)
        self.x = arrays if own else arrays["b"]
        self.s = linear(self.student, arrays["b"], first)
        self.t = linear(self.teacher, arrays[other or "b"], first)
        self.labels, self.known = self._draw_labels(rng)
        self.y = self._in_form()
        self.weights = self._draw_weights(rng)

    def _draw_labels(self, rng):
        """Return the labels, (samples, places) or (samples, places, units), and which are known."""
        case, places = self.case, (SAMPLES, *self.case.places)
        if case.task == "classes":
            labels, known = rng.integers(0, case.units, places), np.ones(places, bool)
        else:
            labels = rng.integers(0, 2, (*places, case.units)).astype("float64")
            if case.task == "values":
                labels = np.where(labels > 0, rng.normal(size=labels.shape), -1.0)
            known = np.ones(labels.shape, bool)
        if case.missing == "some":
            known[::2] = False
        elif case.missing == "all":
            known[:] = False
        elif case.missing == "partly" and known.ndim > 1:
            known[1, ..., -1] = False
        return labels, known

    def _in_form(self):
        """Return the labels as they are passed to `fit`."""
        case, dtypes = self.case, {"bools": "bool", "integers": "int32", "floats": "float64"}
        if case.form in ("rows", *dtypes):
            dtype = dtypes.get(case.form, "float32")
            rows = np.eye(case.units)[self.labels] if case.task == "classes" else self.labels
            known = self.known[..., None] if case.task == "classes" else self.known
            if dtype == "int32":
                rows = np.where(known, rows, -1)
            elif dtype != "bool":
                rows = np.where(known, rows, np.nan)
            rows = rows.astype(dtype)
            if case.task != "classes":  # Truncated integers and truth values are the labels then.
                self.labels = np.where(self.known, rows, 0).astype("float64")
            return self._as_outputs(rows)
        labels = np.where(self.known, self.labels, -1)
        if case.form == OUT_OF_RANGE:
            labels = labels.copy()
            labels.flat[-1] = case.units
        if case.form == "column":
            labels = labels[..., None]
        dtype = {"bytes": "uint8", "float_indices": "float32"}.get(case.form, "int64")
        return labels.astype(dtype)

    def _as_outputs(self, rows):
        return np.moveaxis(rows, -1, 1) if is_first(self.case) else rows

    def _draw_weights(self, rng):
        if self.case.weights is None:
            return None
        places = self.case.places if self.case.weights == "place" else ()
        return rng.uniform(0.5, 2, (SAMPLES, *places)).astype("float32")

    @property
    def hard_loss(self):
        """The loss that is compiled."""
        logits = self.case.heads[0] is None
        if self.case.task == "values":
            return "mse"
        if self.case.task != "classes":
            axis = {"axis": 1} if is_first(self.case) else {}
            return keras.losses.BinaryCrossentropy(from_logits=logits, **axis)
        rows = self.y.ndim == self.s.ndim and self.case.form != "column"
        axis = {"axis": 1} if is_first(self.case) else {}
        name = "CategoricalCrossentropy" if rows else "SparseCategoricalCrossentropy"
        return getattr(keras.losses, name)(from_logits=logits, **axis)

    def expected(self):
        """Return the right values by name in the history."""
        name = self.case.loss or ("outputs_mse" if self.case.task == "values" else "soft_targets")
        values = self._distillation(name)
        found = {"student_loss": self._weigh(self._hard(), self.known)}
        if values is not None:
            found[name] = self._weigh(values, np.ones(values.shape, bool))
        return found

    def _hard(self):
        if self.case.task == "classes":
            return -np.take_along_axis(log_softmax(self.s), self.labels[..., None], -1)[..., 0]
        if self.case.task == "values":
            outputs = np.tanh(self.s) if self.case.heads[0] else self.s
            return (outputs - self.labels) ** 2
        return np.logaddexp(0, self.s) - self.labels * self.s

    def _distillation(self, name):
        """Return the values per place, or `None` for a loss with tests of its own."""
        s, t = self.s, self.t
        if name == "outputs_mse":
            if self.case.task == "values":
                s, t = (
                    np.tanh(z) if a else z for z, a in zip((s, t), self.case.heads, strict=True)
                )
            return ((t - s) ** 2).mean(-1)
        if name != "soft_targets":
            return None
        temperature = 4 if self.case.loss else 2  # Of the loss, and of the default.
        t, s = t / temperature, s / temperature
        if self.case.task == "classes":
            p, q = log_softmax(t), log_softmax(s)
            return temperature**2 * (np.exp(p) * (p - q)).sum(-1)
        p, q = 1 / (1 + np.exp(-t)), 1 / (1 + np.exp(-s))
        values = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return temperature**2 * values.mean(-1)

    def _weigh(self, values, known):
        """Return the mean of value times weight over what is known."""
        weights = np.ones(SAMPLES) if self.weights is None else self.weights.astype("float64")
        weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
        return (values * weights * known).sum() / max(known.sum(), 1)

    def run(self):
        """Train on the batch and return the losses by name."""
        distiller = kd.Distiller(self.student, self.teacher, self.case.loss)
        distiller.compile(keras.optimizers.SGD(0.0), self.hard_loss, run_eagerly=True)
        if self.case.entry == "train_on_batch":
            return distiller.train_on_batch(self.x, self.y, self.weights, return_dict=True)
        fit = {"batch_size": SAMPLES, "sample_weight": self.weights, "verbose": 0}
        history = distiller.fit(self.x, self.y, **fit).history
        return {name: values[0] for name, values in history.items()}
