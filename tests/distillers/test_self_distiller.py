"""`SelfDistiller`: when the earlier weights are the teacher, and which weights they are."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy
from tests.distillers.models import tap


def distiller(student=None, losses=None, eager=True, **kwargs):
    model = kd.SelfDistiller(student or toy.mlp("student"), losses, **kwargs)
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, toy.sparse_loss(), metrics=["accuracy"], run_eagerly=eager)
    return model


def fit(model, data=None, **kwargs):
    x, y = data or toy.vectors()
    return model.fit(x, y, **{"batch_size": 8, "verbose": 0, **kwargs}).history


class Weights(keras.callbacks.Callback):
    """Records the weights before training and after each batch and epoch."""

    def on_train_begin(self, logs=None):
        self.steps = [self.model.student.get_weights()]
        self.epochs = [self.model.student.get_weights()]
        self.earlier = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.model.student.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.student.get_weights())
        self.earlier.append(self.model.earlier_self.get_weights())


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# Late snapshots.


@pytest.mark.slow
def test_a_snapshot_is_a_copy_of_the_weights_at_the_start_of_its_epoch():
    noted, model = Weights(), distiller(toy.cnn("student"), start=2)
    fit(model, toy.data(), epochs=4, callbacks=[noted])
    assert_equal(model.earlier_self.get_weights(), noted.epochs[2])
    assert not np.array_equal(model.student.get_weights()[0], noted.epochs[2][0])
    own = {id(weight) for weight in model.student.weights}
    assert not own & {id(weight) for weight in model.earlier_self.weights}


@pytest.mark.slow
def test_snapshots_are_renewed_after_a_number_of_epochs():
    noted = Weights()
    fit(distiller(start=1, every=2), epochs=6, callbacks=[noted], batch_size=16)
    for epoch, source in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 5)):
        assert_equal(noted.earlier[epoch], noted.epochs[source])


@pytest.mark.traced
@pytest.mark.slow
def test_before_the_snapshot_training_is_plain_and_no_teacher_runs():
    plain = toy.mlp("student")
    plain.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
    plain.fit(*toy.vectors(), batch_size=8, epochs=2, shuffle=False, verbose=0)
    student, counter = toy.counted(toy.mlp("student"))
    model = distiller(student, start=2, eager=False)
    earlier = model.earlier_self.get_layer(counter.name)
    logs = fit(model, epochs=2, shuffle=False)
    assert_equal(plain.get_weights(), model.student.get_layer("student").get_weights())
    assert logs["soft_targets"] == [0.0, 0.0]
    assert int(earlier.count) == 0
    logs = fit(model, epochs=4, initial_epoch=2)
    assert min(logs["soft_targets"]) > 0
    # The snapshot copied the value of the counter.
    assert int(earlier.count) == 8 + 8


@pytest.mark.slow
def test_the_loss_after_the_snapshot_is_the_sum_of_its_parts():
    (x, y), student = toy.vectors(), toy.mlp("student")
    losses = [kd.losses.SoftTargets(2.0, weight=0.3), kd.losses.Hint("hidden", "hidden", None)]
    model = distiller(student, losses, student_loss_weight=0.7, start=1)
    fit(model)
    before, hidden = student(x), tap(student, "hidden", x)
    fit(model, epochs=2, initial_epoch=1)
    model.optimizer.learning_rate = 0.0
    logs = fit(model, epochs=3, initial_epoch=2)
    soft = np.mean(kd.losses.SoftTargets(2.0)(before, student(x)))
    hint = np.mean((hidden - tap(student, "hidden", x)) ** 2)
    hard = toy.sparse_loss()(y, student(x))
    np.testing.assert_allclose(logs["soft_targets"][0], soft, rtol=1e-4)
    np.testing.assert_allclose(logs["hint"][0], hint, rtol=1e-4)
    np.testing.assert_allclose(logs["loss"][0], 0.7 * hard + 0.3 * soft + hint, rtol=1e-5)


@pytest.mark.slow
def test_a_second_fit_starts_without_a_teacher_again():
    noted, model = Weights(), distiller(start=1)
    fit(model, epochs=3)
    logs = fit(model, epochs=2, callbacks=[noted])
    assert logs["soft_targets"][0] == 0
    assert_equal(model.earlier_self.get_weights(), noted.epochs[1])


@pytest.mark.slow
def test_a_loaded_distiller_keeps_its_snapshot(tmp_path):
    model = distiller(start=1)
    fit(model, epochs=2)
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    loaded.run_eagerly = True
    assert_equal(loaded.earlier_self.get_weights(), model.earlier_self.get_weights())
    expected = fit(model, epochs=3, initial_epoch=2, shuffle=False)
    assert fit(loaded, epochs=3, initial_epoch=2, shuffle=False) == expected
    assert_equal(loaded.get_weights(), model.get_weights())


# The running average.


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_running_average_equals_the_closed_form(decay):
    noted, model = Weights(), distiller(toy.cnn("student"), decay=decay)
    fit(model, toy.data(), batch_size=4, epochs=2, callbacks=[noted])
    steps = len(noted.steps) - 1
    # The plain mean of the first weights, as long as t / (t + 1) is at most the decay.
    mean = max(t for t in range(steps + 1) if t / (t + 1) <= decay + 1e-9)
    powers = decay ** np.arange(steps - mean, -1, -1.0)
    shares = np.append(powers[0], (1 - decay) * powers[1:])
    for k, average in enumerate(model.earlier_self.get_weights()):
        first = np.mean([weights[k] for weights in noted.steps[: mean + 1]], axis=0)
        parts = [first, *(weights[k] for weights in noted.steps[mean + 1 :])]
        expected = sum(share * part for share, part in zip(shares, parts, strict=True))
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_average_starts_at_the_first_step_and_is_the_teacher_from_its_epoch_on():
    noted, model = Weights(), distiller(decay=0.999, start=1)
    logs = fit(model, epochs=2, callbacks=[noted])
    assert logs["soft_targets"][0] == 0
    assert logs["soft_targets"][1] > 0
    expected = np.mean([weights[0] for weights in noted.steps], axis=0)
    np.testing.assert_allclose(model.earlier_self.get_weights()[0], expected, rtol=1e-4, atol=1e-6)


def test_integers_are_copied_and_not_averaged():
    student, counter = toy.counted(toy.mlp("student"))
    model = distiller(student, decay=0.5)
    fit(model)
    assert int(model.earlier_self.get_layer(counter.name).count) == int(counter.count) == 4


def test_mixed_precision_keeps_the_average_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = distiller(decay=0.9)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {weight.dtype for weight in model.earlier_self.weights} == {"float32"}


# Models.


def test_the_earlier_weights_are_neither_trained_nor_regularized():
    student = toy.cnn("student", regularizer="l2")
    trainable, paths = len(student.trainable_variables), [w.path for w in student.weights]
    model = distiller(student, decay=0.9)
    assert len(model.trainable_variables) == trainable
    assert len(model.losses) == 1
    assert [weight.path for weight in model.student.weights] == paths


def test_a_subclassed_student():
    @keras.saving.register_keras_serializable("test_self_distiller")
    class Net(keras.Model):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.hidden = layers.Dense(units, activation="relu", name="hidden")
            self.head = layers.Dense(4, name="head")

        def call(self, x):
            return self.head(self.hidden(x))

        def get_config(self):
            return {"units": self.units, "name": self.name}

    student, (x, y) = Net(8), toy.vectors(12)
    student(x)
    model = distiller(student, kd.losses.Hint("hidden", "hidden", None), decay=0.9)
    np.testing.assert_array_equal(model.earlier_self(x), student(x))
    assert fit(model, (x, y), batch_size=4, epochs=2)["hint"][1] > 0


@pytest.mark.slow
def test_a_mean_teacher_learns_from_unlabeled_and_augmented_samples():
    x, y = toy.vectors(64)
    y[16:] = kd.UNLABELED
    model = distiller(decay=0.9, augment=layers.GaussianNoise(0.3))
    logs = fit(model, (x, y), batch_size=16, epochs=5)
    assert logs["student_loss"][-1] < logs["student_loss"][0]
    assert min(logs["soft_targets"]) > 0


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({}, "`start`, the epoch.*at least 1 for snapshots.*Received: start=0"),
        ({"start": 1.5}, "Received: start=1.5"),
        ({"decay": 1.0}, "`decay` must be at least 0 and below 1"),
        ({"start": 1, "every": 0}, "`every` must be a number of epochs"),
        ({"decay": 0.9, "every": 2}, "`every` must be a number of epochs between two snapshots"),
    ],
)
def test_arguments_out_of_range_are_rejected(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        distiller(**kwargs)


def test_a_student_that_cannot_be_copied_is_rejected():
    class Net(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.head = layers.Dense(units)

        def call(self, x):
            return self.head(x)

    student = Net(4)
    student(np.ones((1, 5)))
    with pytest.raises(ValueError, match="cannot be copied: it must be Functional"):
        distiller(student, start=1, student_outputs="logits")
