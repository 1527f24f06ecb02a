"""Early exits taught by the end: what they add up to, and that nothing of them is left."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from tests import toy


def still(activation=None, **kwargs):
    student = toy.cnn("student", activation=activation, **kwargs)
    student.get_layer("norm").trainable = False
    return student


def supervised(student, exits=("conv", "features"), losses=None, rate=0.1, **kwargs):
    model = kd.DeepSupervision(student, exits, losses, **kwargs)
    model.compile(keras.optimizers.SGD(rate), toy.sparse_loss(), metrics=["accuracy"])
    return model


def hidden(student, name, x):
    return keras.Model(student.input, student.get_layer(name).output)(x)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_loss_is_the_sum_over_the_end_and_the_exits(activation):
    (x, y), student = toy.data(), still(activation, regularizer="l2")
    soft = kd.losses.SoftTargets(2.0, weight=0.3)
    model = kd.DeepSupervision(student, ["conv", "features"], soft, 0.9, 0.6)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    answer = student(x)
    end = ops.log(answer) if activation else answer
    teacher_outputs = {name: layer(hidden(student, name, x)) for name, layer in model.exits.items()}
    regularisation = float(ops.sum(student.losses))
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    hard = [float(toy.sparse_loss()(y, logits)) for logits in (end, *teacher_outputs.values())]
    values = {name: np.mean(soft(end, logits)) for name, logits in teacher_outputs.items()}
    np.testing.assert_allclose(logs["student_loss"][0], hard[0], rtol=1e-5)
    np.testing.assert_allclose(logs["exit_loss"][0], sum(hard[1:]), rtol=1e-5)
    for name, value in values.items():
        np.testing.assert_allclose(logs[f"{name}_soft_targets"][0], value, rtol=1e-4)
    total = 0.9 * hard[0] + 0.6 * sum(hard[1:]) + 0.3 * sum(values.values()) + regularisation
    np.testing.assert_allclose(logs["loss"][0], total, rtol=1e-5)
    right = np.mean(np.argmax(answer, -1) == y)
    np.testing.assert_allclose(logs["accuracy"][0], right, rtol=1e-6)


def test_the_end_gets_no_gradient_from_teaching():
    (x, y), student = toy.data(), still()
    model = supervised(student, student_loss_weight=0.0)
    before = student.get_layer("logits").get_weights()
    model.fit(x, y, verbose=0)
    for old, new in zip(before, student.get_layer("logits").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.fit(x, y, verbose=0).history["conv_soft_targets"][0] > 0


def test_the_student_runs_once_per_step():
    x, y = toy.data()
    student, counter = toy.counted(toy.cnn("student"))
    supervised(student, ["student/conv"]).fit(x, y, batch_size=8, verbose=0)
    assert int(counter.count) == 4


def test_hints_lead_one_layer_of_the_student_to_another():
    (x, y), student = toy.data(), still()
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("features", "pool")]
    model = supervised(student, ["conv"], losses)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    assert list(model.projectors) == ["hint"]
    assert logs["hint"][0] > 0


def test_the_product_is_the_student_without_its_exits_and_is_evaluated_alone(tmp_path):
    (x, y), student = toy.data(), toy.cnn("student")
    paths = [weight.path for weight in student.weights]
    model = supervised(student)
    logs = model.fit(x, y, verbose=0, validation_data=(x, y)).history
    assert [weight.path for weight in model.student.weights] == paths
    assert {name for name in logs if name.startswith("val_")} == {
        "val_loss",
        "val_student_loss",
        "val_accuracy",
    }
    np.testing.assert_allclose(logs["val_loss"], toy.sparse_loss()(y, student(x)), rtol=1e-5)
    np.testing.assert_array_equal(model.predict(x, verbose=0), student.predict(x, verbose=0))
    model.student.save(tmp_path / "student.keras")
    assert keras.models.load_model(tmp_path / "student.keras").count_params() == sum(
        int(np.prod(weight.shape)) for weight in student.weights
    )


def test_exits_of_ones_own_samples_without_labels_and_schedules():
    (x, y), student = toy.data(), still()
    known = np.arange(32) % 3 > 0
    head = keras.Sequential([layers.Flatten(), layers.Dropout(0.0), layers.Dense(4)])
    model = supervised(student, {"conv": head})
    expected = toy.sparse_loss()(y[known], head(hidden(student, "conv", x))[known])
    halved = kd.callbacks.HyperparameterScheduler("exit_loss_weight", lambda epoch: 0.25)
    labels = np.where(known, y, kd.UNLABELED)
    logs = model.fit(x, labels, batch_size=32, verbose=0, callbacks=[halved]).history
    np.testing.assert_allclose(logs["exit_loss"][0], expected, rtol=1e-5)
    parts = logs["student_loss"][0] + 0.25 * logs["exit_loss"][0] + logs["conv_soft_targets"][0]
    np.testing.assert_allclose(logs["loss"][0], parts, rtol=1e-5)


def test_without_labels_the_end_teaches_all_the_same():
    x, _ = toy.data()
    model = kd.DeepSupervision(toy.cnn("student"), ["conv"])
    model.compile("sgd", loss=None)
    assert set(model.fit(x, verbose=0).history) == {"loss", "conv_soft_targets"}


def test_a_student_that_labels_pixels():
    inputs = keras.Input((6, 6, 1))
    small = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="small")(inputs)
    outputs = layers.Conv2DTranspose(3, 2, strides=2, name="map")(small)
    model = supervised(keras.Model(inputs, outputs), ["small"])
    x, _ = toy.data()
    logs = model.fit(x, np.zeros((32, 6, 6), int), epochs=3, verbose=0).history
    assert logs["exit_loss"][2] < logs["exit_loss"][0]


@pytest.mark.parametrize("how", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_every_way_of_running_gives_the_same_weights(how):
    x, y = toy.data()
    weights = []
    for kwargs in ({}, how):
        keras.utils.set_random_seed(0)
        model = kd.DeepSupervision(toy.cnn("student"), ["conv"])
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), toy.sparse_loss(), **kwargs)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_mixed_precision():
    x, y = toy.data()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = supervised(toy.cnn("student"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(model.fit(x, y, epochs=2, verbose=0).history["loss"]).all()


def test_a_stopped_run_goes_on_and_a_loaded_one_trains_on(tmp_path):
    x, y = toy.data()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*callbacks):
        student = toy.cnn("student", dropout=0.5)
        head = keras.Sequential([layers.Flatten(), layers.Dropout(0.5, seed=1), layers.Dense(4)])
        model = kd.DeepSupervision(student, {"conv": head, "features": layers.Dense(4)})
        model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
        model.fit(x, y, 8, shuffle=False, epochs=4, verbose=0, callbacks=callbacks)
        return model

    expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Stop())
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    resumed.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    for model in (resumed, loaded):
        for one, other in zip(expected.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    one = expected.fit(x, y, 8, shuffle=False, verbose=0).history
    assert loaded.fit(x, y, 8, shuffle=False, verbose=0).history == one


@pytest.mark.parametrize(
    ("exits", "error", "sentence"),
    [
        ([], ValueError, "`exits` must be a list of hidden taps"),
        ("conv", ValueError, "`exits` must be a list of hidden taps"),
        (["convv"], ValueError, "no layer or output 'convv'.*'conv'"),
        ({"conv": "dense"}, TypeError, "the exit at 'conv' must be a Keras layer"),
        ({"conv": layers.Dense(4)}, ValueError, "tap 'conv'"),
        ({"features": layers.Dense(5)}, ValueError, r"\(None, 4\).*\(None, 5\)"),
    ],
)
def test_exits_that_do_not_fit_are_refused(exits, error, sentence):
    with pytest.raises(error, match=sentence):
        kd.DeepSupervision(toy.cnn("student"), exits)


def test_other_teachers_are_refused():
    with pytest.raises(ValueError, match="no teacher but the student"):
        supervised(toy.cnn("student")).set_teachers(toy.cnn("teacher"))
