"""The augmented view of a batch that the student gets, and the original that the teachers get."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.training.augmentation import as_augmentation, augment_batch
from tests import toy
from tests.distillers.models import distiller, tap


def negated(x):
    return -x


# The argument.


def test_a_layer_a_function_and_none_are_used_unchanged():
    for augment in (layers.GaussianNoise(0.1), negated, None):
        assert as_augmentation(augment) is augment


def test_a_list_of_layers_becomes_a_pipeline():
    parts = [layers.GaussianNoise(0.1), layers.RandomFlip()]
    pipeline = as_augmentation(parts)
    assert isinstance(pipeline, keras.layers.Pipeline)
    assert pipeline.layers == parts


@pytest.mark.parametrize(
    ("augment", "error", "sentence"),
    [
        (0.5, TypeError, "`augment` must be a Keras layer or a list"),
        ([negated], TypeError, "a list as `augment` must hold Keras layers"),
        ([], TypeError, "a list as `augment` must hold Keras layers"),
        (toy.mlp("net"), ValueError, "must not have trainable weights. Received: 'net' with 4"),
    ],
)
def test_other_arguments_are_rejected(augment, error, sentence):
    with pytest.raises(error, match=sentence):
        as_augmentation(augment)


def test_a_layer_runs_in_training_mode():
    x = np.ones((2, 3), "float32")
    assert augment_batch(None, x) is x
    np.testing.assert_array_equal(augment_batch(negated, x), -x)
    assert np.any(augment_batch(layers.GaussianNoise(0.1, seed=0), x) != x)


# Training.


@pytest.mark.parametrize("options", [{}, {"same_view": False}])
def test_the_teacher_gets_the_same_view_unless_same_view_is_false(options):
    x, y = toy.vectors()
    model = distiller(rate=0.0, augment=negated, **options)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    target, outputs = model.teachers[0].model(x if options else -x), model.student(-x)
    expected = np.mean(kd.losses.SoftTargets()(target, outputs))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["student_loss"][0], toy.sparse_loss()(y, outputs), rtol=1e-5)


def test_hidden_taps_are_those_of_the_views():
    (x, y), hint = toy.vectors(), kd.losses.Hint("hidden", "hidden", None)
    model = distiller(teacher=toy.mlp("t", seed=1), losses=hint, rate=0.0, augment=negated)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    gap = tap(model.teachers[0].model, "hidden", -x) - tap(model.student, "hidden", -x)
    np.testing.assert_allclose(logs["hint"][0], np.mean(np.square(gap)), rtol=1e-5)


@pytest.mark.slow
def test_evaluate_predict_and_validation_use_the_original_data():
    x, y = toy.vectors()
    plain, model = distiller(), distiller(rate=0.0, augment=[layers.GaussianNoise(1.0)])
    expected = plain.evaluate(x, y, verbose=0, return_dict=True)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == expected
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain.predict(x, verbose=0))
    logs = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert logs["val_loss"][0] == expected["loss"]


def images(augment, rate=0.0, **kwargs):
    student, teacher = toy.cnn("student"), toy.cnn("teacher", 6, seed=1)
    student.get_layer("norm").trainable = False
    return distiller(student, teacher, rate=rate, augment=augment, **kwargs)


@pytest.mark.slow
def test_each_step_draws_a_new_view_and_the_same_seed_the_same_views():
    x, y = toy.data()
    histories = [
        images(layers.RandomTranslation(0.3, 0.3, seed=3))
        .fit(x, y, batch_size=32, epochs=2, verbose=0)
        .history["soft_targets"]
        for _ in range(2)
    ]
    assert histories[0] == histories[1]
    assert histories[0][0] != histories[0][1]


@pytest.mark.traced
@pytest.mark.slow
@pytest.mark.parametrize("how", ["compiled", "jit_compile"])
def test_the_compiled_step_draws_the_views_too(how):
    (x, y), losses = toy.vectors(), []
    for arguments in ({}, {"eager": False, "jit_compile": how == "jit_compile"}):
        augment = [layers.GaussianNoise(0.5, seed=1), layers.Dropout(0.1, seed=2)]
        model = distiller(augment=augment, metrics=None, **arguments)
        logs = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
        losses.append(logs["loss"][0])
    # XLA draws other numbers from the same seed.
    np.testing.assert_allclose(*losses, rtol=0.2 if how == "jit_compile" else 1e-5)


class Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_resumed_run_draws_the_views_of_the_uninterrupted_run(tmp_path):
    x, y = toy.data()

    def run(*callbacks):
        model = images([layers.RandomFlip(seed=4), layers.RandomTranslation(0.3, 0.3, seed=5)], 0.1)
        options = {"shuffle": False, "epochs": 2, "verbose": 0}
        model.fit(x, y, batch_size=16, callbacks=callbacks, **options)
        return model.get_weights()

    expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), Stop())
    for one, other in zip(expected, run(keras.callbacks.BackupAndRestore(tmp_path)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_saved_distiller_keeps_its_augmentation(tmp_path):
    x, y = toy.data()
    model = images([layers.RandomFlip(seed=4), layers.RandomTranslation(0.3, 0.3, seed=5)])
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    loaded.set_teachers(toy.cnn("teacher", 6, seed=1))
    loaded.run_eagerly = True
    expected = model.fit(x, y, shuffle=False, verbose=0).history
    assert loaded.fit(x, y, shuffle=False, verbose=0).history == expected


def test_several_inputs_are_augmented_together():
    keras.utils.set_random_seed(0)
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    net = keras.Model({"a": a, "b": b}, layers.Dense(4)(layers.Concatenate()([a, b])))
    x = {"a": np.ones((8, 3), "float32"), "b": np.ones((8, 2), "float32")}
    options = {"rate": 0.0, "loss": None, "metrics": None, "same_view": False}
    teacher = keras.models.clone_model(net)
    teacher.set_weights(net.get_weights())
    model = distiller(net, teacher, augment=lambda x: {**x, "a": -x["a"]}, **options)
    logs = model.fit(x, verbose=0).history
    expected = np.mean(kd.losses.SoftTargets()(net(x), net({**x, "a": -x["a"]})))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)


@pytest.mark.slow
def test_cached_outputs_are_those_of_the_original_inputs(tmp_path):
    x, y = toy.vectors()
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    teacher = toy.mlp("teacher", units=6, seed=1)
    cache = kd.KnowledgeCache.build(teacher, samples, tmp_path / "knowledge")
    train = cache.join(kd.keyed(samples).batch(8))
    options = {"rate": 0.0, "augment": negated, "same_view": False}
    live = distiller(**options).fit(x, y, 8, shuffle=False, verbose=0).history
    cached = distiller(teacher=cache.teachers, **options)
    found = cached.fit(train, verbose=0).history["soft_targets"]
    np.testing.assert_allclose(found, live["soft_targets"], rtol=1e-3)  # The cache has float16.
    same = distiller(teacher=cache.teachers, augment=negated)
    with pytest.raises(ValueError, match="not for the augmented view of the student.*views="):
        same.fit(train, verbose=0)
