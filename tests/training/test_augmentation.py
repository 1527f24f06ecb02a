"""Two views of a batch: what the teacher sees, and what the student sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from tests import toy


def upside_down(x):
    return ops.flip(x, axis=1)


def distiller(augment, losses=None, **kwargs):
    student = toy.cnn("student")
    student.get_layer("norm").trainable = False
    model = kd.Distiller(student, toy.cnn("teacher", 6, seed=1), losses, augment=augment, **kwargs)
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), metrics=["accuracy"])
    return model


@pytest.mark.parametrize("same_view", [False, True])
def test_the_student_sees_the_augmented_view_and_the_teacher_the_clean_one_unless_told(same_view):
    x, y = toy.data()
    model = distiller(upside_down, same_view=same_view)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    view = upside_down(x)
    teacher = toy.cnn("teacher", 6, seed=1)(view if same_view else x)
    answer = model.student(view)
    expected = np.mean(kd.losses.SoftTargets()(teacher, answer))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["student_loss"][0], toy.sparse_loss()(y, answer), rtol=1e-5)


def test_hidden_taps_are_those_of_the_views():
    x, y = toy.data()
    model = distiller(upside_down, kd.losses.Hint("features", "features", None))
    logs = model.fit(x, y, batch_size=32, verbose=0).history

    def features(net, view):
        return keras.Model(net.input, net.get_layer("features").output)(view)

    gap = features(toy.cnn("t", 6, seed=1), x) - features(model.student, upside_down(x))
    np.testing.assert_allclose(logs["hint"][0], np.mean(np.square(gap)), rtol=1e-5)


def test_evaluate_predict_and_validation_see_the_data_as_they_are():
    x, y = toy.data()
    plain, model = distiller(None), distiller([layers.GaussianNoise(1.0)])
    expected = plain.evaluate(x, y, verbose=0, return_dict=True)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == expected
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain.predict(x, verbose=0))
    logs = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert logs["val_loss"][0] == expected["loss"]
    assert logs["soft_targets"][0] > plain.fit(x, y, verbose=0).history["soft_targets"][0]


def test_each_step_draws_a_new_view_and_the_same_seed_the_same_views():
    x, y = toy.data()
    histories = [
        distiller(layers.RandomTranslation(0.3, 0.3, seed=3))
        .fit(x, y, batch_size=32, epochs=2, verbose=0)
        .history["soft_targets"]
        for _ in range(2)
    ]
    assert histories[0] == histories[1]
    assert histories[0][0] != histories[0][1]


@pytest.mark.parametrize("how", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_every_way_of_running_draws_views(how):
    x, y = toy.data()
    losses = []
    for kwargs in ({}, how):
        model = distiller([layers.RandomFlip(seed=1), layers.RandomContrast(0.5, seed=2)])
        model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), **kwargs)
        logs = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
        losses.append(logs["loss"][0])
    # XLA draws other numbers from the same seed.
    np.testing.assert_allclose(*losses, rtol=0.1 if "jit_compile" in how else 1e-5)


def test_a_resumed_run_draws_the_views_that_the_run_would_have_drawn(tmp_path):
    x, y = toy.data()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*callbacks):
        student, teacher = toy.cnn("student"), toy.cnn("teacher", 6, seed=1)
        augment = [layers.RandomFlip(seed=4), layers.RandomTranslation(0.3, 0.3, seed=5)]
        model = kd.Distiller(student, teacher, augment=augment)
        model.compile("adam", toy.sparse_loss())
        model.fit(x, y, batch_size=8, shuffle=False, epochs=4, verbose=0, callbacks=callbacks)
        return student.get_weights()

    expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), Stop())
    for one, other in zip(expected, run(keras.callbacks.BackupAndRestore(tmp_path)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_saved_distiller_keeps_its_augmentation(tmp_path):
    x, y = toy.data()
    model = distiller([layers.RandomFlip(seed=4), layers.RandomTranslation(0.3, 0.3, seed=5)])
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    loaded.set_teachers(toy.cnn("teacher", 6, seed=1))
    one = model.fit(x, y, shuffle=False, verbose=0).history
    assert loaded.fit(x, y, shuffle=False, verbose=0).history == one


def test_several_inputs_are_augmented_together():
    keras.utils.set_random_seed(0)
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    net = keras.Model({"a": a, "b": b}, layers.Dense(4)(layers.Concatenate()([a, b])))
    x = {"a": np.ones((8, 3), "float32"), "b": np.ones((8, 2), "float32")}
    model = kd.Distiller(net, net, augment=lambda x: {**x, "a": -x["a"]})
    model.compile(keras.optimizers.SGD(0.0))
    logs = model.fit(x, verbose=0).history
    expected = np.mean(kd.losses.SoftTargets()(net(x), net({**x, "a": -x["a"]})))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("augment", "error", "sentence"),
    [
        (0.5, TypeError, "`augment` must be a Keras layer or a list"),
        ([upside_down], TypeError, "a list as `augment` must hold Keras layers"),
        (
            lambda: toy.cnn("net"),
            ValueError,
            "must not have trainable weights. Received: 'net' with",
        ),
    ],
)
def test_what_does_not_augment_is_refused(augment, error, sentence):
    if error is ValueError:
        augment = augment()
    with pytest.raises(error, match=sentence):
        kd.Distiller(toy.cnn("s"), toy.cnn("t"), augment=augment)


def test_cached_knowledge_is_of_the_clean_view(tmp_path):
    x, y = toy.data()
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    cache = kd.KnowledgeCache.build(toy.cnn("teacher", 6, seed=1), samples, tmp_path / "knowledge")
    train = cache.join(kd.keyed(samples).batch(8))
    live = distiller(upside_down).fit(x, y, 8, shuffle=False, verbose=0).history
    student = toy.cnn("student")
    student.get_layer("norm").trainable = False
    for same_view in (False, True):
        model = kd.Distiller(student, cache.teachers, augment=upside_down, same_view=same_view)
        model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss())
        if same_view:
            with pytest.raises(ValueError, match="not for the augmented view of the student"):
                model.fit(train, verbose=0)
        else:
            found = model.fit(train, verbose=0).history["soft_targets"]
            np.testing.assert_allclose(found, live["soft_targets"], rtol=1e-3)  # float16
