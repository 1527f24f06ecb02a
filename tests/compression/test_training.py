"""A student that runs in tf_keras is trained as `Distiller` trains one, by `Distiller` itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers

import keras_kd as kd
from tests import toy

SPARSE = "sparse_categorical_crossentropy"


def batches(samples=24, size=8, **kwargs):
    return tf.data.Dataset.from_tensor_slices(toy.data(samples, **kwargs)).batch(size)


def hints():
    return [
        kd.losses.SoftTargets(temperature=2),
        kd.losses.Hint("conv", "conv", weight=0.5),
        kd.losses.Hint("features", "features"),
    ]


def untouched(student, **kwargs):
    """A compression that compresses nothing: only the training is left."""
    kwargs = {"data": batches(), "epochs": 2, "verbose": 0, **kwargs}
    return kd.compression.prune(student, 0.0, **kwargs)


def distilled(student, teachers, losses=None, epochs=2, data=None, **kwargs):
    model = kd.Distiller(student, teachers, losses, **kwargs)
    model.compile(keras.optimizers.SGD(0.1), SPARSE)
    return model.fit(data or batches(), epochs=epochs, verbose=0).history


def same_weights(one, other, tolerance=1e-6):
    for a, b in zip(one.weights, other.weights, strict=True):
        # tf_keras's batch norm takes the variance of a sample: n / (n - 1) of Keras 3's.
        loose = 0.02 if "moving_variance" in a.path else tolerance
        np.testing.assert_allclose(a, b, rtol=0, atol=loose, err_msg=a.path)


def test_it_gives_the_weights_that_the_distiller_gives():
    def student():
        return toy.cnn("student", activation="softmax", regularizer="l2")

    # As wide as the student: projectors would start from other random weights.
    teachers = [toy.cnn("one", seed=1), toy.cnn("two", seed=2, activation="softmax")]
    kwargs = {"weighting": kd.weighting.CrossEntropy(), "student_loss_weight": 0.3}
    here, there = student(), student()
    expected = distilled(there, teachers, hints(), **kwargs)
    result = untouched(
        here, teachers=teachers, losses=hints(), loss=SPARSE, **kwargs, optimizer=toy_sgd()
    )
    same_weights(there, result.model)
    for name, values in expected.items():
        np.testing.assert_allclose(result.history[name], values, rtol=1e-5, err_msg=name)


def toy_sgd():
    return keras.optimizers.SGD(0.1)


def test_knowledge_from_the_disk_gives_the_weights_that_the_live_teacher_gives(tmp_path):
    samples = tf.data.Dataset.from_tensor_slices(toy.data(24))
    teacher = toy.cnn("teacher", seed=1)
    cache = kd.KnowledgeCache.build(teacher, samples, tmp_path, dtype="float32", verbose=0)
    same = {"loss": SPARSE, "optimizer": toy_sgd(), "epochs": 1}
    student = toy.cnn("student", activation="softmax")
    live = untouched(student, teachers=teacher, **same)
    joined = cache.join(kd.keyed(samples).batch(8))
    recorded = untouched(student, teachers=cache.teachers, data=joined, **same)
    same_weights(live.model, recorded.model)
    np.testing.assert_allclose(recorded.history["loss"], live.history["loss"], rtol=1e-5)


def test_projectors_are_trained_and_left_behind():
    student = toy.cnn("student")
    trained = {}
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: trained.update(
            {batch: look.model.projectors["hint"].kernel.numpy()}
        )
    )
    losses = kd.losses.Hint("conv", "conv")
    teacher = toy.cnn("teacher", 8, seed=1)
    result = untouched(student, teachers=teacher, losses=losses, callbacks=look)
    assert np.abs(trained[2] - trained[0]).min() > 0
    assert [w.shape for w in result.model.weights] == [w.shape for w in student.weights]


def test_each_teacher_runs_once_per_step_and_not_in_validation():
    teacher, counter = toy.counted(toy.cnn("teacher", 8, seed=1))
    before = teacher.get_weights()
    student = toy.cnn("student")
    start = student.get_weights()
    untouched(student, teachers=teacher, validation_data=batches(16))
    assert int(counter.count) == 6
    for old, new in zip(before[1:], teacher.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(start, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_sample_weights_noise_and_a_nested_tap_go_through():
    inner = toy.cnn("inner")
    x = keras.Input((6, 6, 1))
    student = keras.Model(x, inner(x), name="student")
    x, y = toy.data(24)
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("relu", "inner/relu")]
    result = untouched(
        student,
        data=(x, y, np.zeros(24, "float32")),
        batch_size=8,
        teachers=toy.cnn("teacher", 4, seed=1),
        losses=losses,
        noise=kd.noise.LogitNoise(0.5, seed=0),
        loss=toy.sparse_loss(),
        optimizer=toy_sgd(),
    )
    assert result.history["loss"] == [0.0, 0.0]
    np.testing.assert_allclose(
        student.get_layer("inner").get_layer("conv").kernel,
        result.model.get_layer("inner").get_layer("conv").kernel,
    )


def test_the_best_epoch_is_kept():
    student = toy.cnn("student")
    rates = iter([0.1, 50.0, 50.0])
    result = untouched(
        student,
        epochs=3,
        loss=toy.sparse_loss(),
        optimizer=toy_sgd(),
        validation_data=batches(16, seed=1),
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: next(rates))],
        monitor="val_loss",
    )
    assert np.argmin(result.history["val_loss"]) == 0
    result.model.compile(loss=toy.sparse_loss())
    kept = result.model.evaluate(batches(16, seed=1), verbose=0)
    np.testing.assert_allclose(kept, result.history["val_loss"][0], rtol=1e-5)


def test_callbacks_of_tf_keras_see_the_tf_keras_model_and_set_the_rate():
    class Look(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((type(self.model).__module__.split(".")[0], batch))

    seen = []
    callbacks = [
        Look(),
        tf_keras.callbacks.LearningRateScheduler(lambda epoch: [0.1, 0.0, 0.0, 0.0][epoch]),
        tf_keras.callbacks.EarlyStopping("loss", patience=1, min_delta=10.0),
    ]
    result = untouched(
        toy.cnn("student"), epochs=4, loss=toy.sparse_loss(), optimizer="sgd", callbacks=callbacks
    )
    assert seen[:3] == [("tf_keras", 0), ("tf_keras", 1), ("tf_keras", 2)]
    assert len(result.history["loss"]) == 2


def test_callbacks_of_this_package_work_as_with_the_distiller():
    result = untouched(
        toy.cnn("student"),
        teachers=toy.cnn("teacher", 8, seed=1),
        callbacks=kd.callbacks.TemperatureScheduler(lambda epoch: 4.0 - epoch),
    )
    assert result.history["soft_targets.temperature"] == [4.0, 3.0]


def test_constraints_hold_and_the_optimizer_is_left_alone():
    x = keras.Input((6, 6, 1))
    limit = keras.constraints.MaxNorm(0.5)
    dense = layers.Dense(4, kernel_constraint=limit, name="dense")
    student = keras.Model(x, dense(layers.Flatten()(x)))
    optimizer = toy_sgd()
    result = untouched(student, loss=toy.sparse_loss(), optimizer=optimizer)
    assert np.linalg.norm(result.model.get_layer("dense").kernel, axis=0).max() < 0.5001
    assert not optimizer.built


def test_several_inputs_and_outputs_keep_their_names():
    b, a = keras.Input((4,), name="b"), keras.Input((3,), name="a")
    hidden = layers.Dense(8, name="hidden")(layers.Concatenate()([b, a]))
    outputs = {
        "big": layers.Dense(5, name="big")(hidden),
        "few": layers.Dense(2, name="few")(hidden),
    }
    student = keras.Model({"b": b, "a": a}, outputs)
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(16, 3)), "b": rng.normal(size=(16, 4))}
    y = {"big": rng.integers(0, 5, 16), "few": rng.integers(0, 2, 16)}
    loss = {"big": toy.sparse_loss(), "few": toy.sparse_loss()}
    result = untouched(student, data=(x, y), loss=loss, metrics={"few": ["accuracy"]})
    assert "few_accuracy" in result.history
    assert set(result.model(x)) == {"big", "few"}


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({}, ValueError, "nothing to learn from: pass `teachers`, or a `loss`"),
        ({"loss": "mse", "losses": "soft_targets"}, ValueError, "nothing to learn from"),
        ({"loss": "mse", "epochs": 0}, ValueError, "must be at least 1. Received: epochs=0"),
        ({"loss": "mse", "optimizer": tf_keras.optimizers.Adam()}, TypeError, "Keras 3's, not"),
        ({"loss": "mse", "callbacks": [3]}, TypeError, "callbacks of keras, or of tf_keras"),
        ({"loss": SPARSE, "monitor": "val_loss"}, ValueError, "must be an entry of the history"),
        ({"loss": "mse", "colour": 3}, TypeError, "unexpected keyword argument 'colour'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        untouched(toy.cnn("student"), **{"data": batches(), **arguments})


def test_a_data_set_of_unknown_length_asks_for_its_steps():
    data = batches().filter(lambda x, y: True)
    with pytest.raises(ValueError, match="does not know how many batches it has"):
        untouched(toy.cnn("student"), data=data, loss=toy.sparse_loss())
    history = untouched(
        toy.cnn("student"), data=data.repeat(), loss=toy.sparse_loss(), steps_per_epoch=3
    ).history
    assert len(history["loss"]) == 2
