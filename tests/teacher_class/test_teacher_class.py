"""A class of students: what each learns, that they are apart, and that together they are one."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from tests import toy

PERMUTED = [[6, 1, 3], [0, 2, 7], [5, 4]]


def dense_teacher(activation="relu"):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation=activation, name="features"),
            layers.Dropout(0.5),
            layers.Dense(4, activation="softmax", name="head"),
        ],
        name="teacher",
    )


def small(size):
    return keras.Sequential([keras.Input((6,)), layers.Dense(3, "relu"), layers.Dense(size)])


def dropping(size):
    hidden = [layers.Dense(5, "relu"), layers.BatchNormalization(), layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(size)])


def judge(size):
    return keras.Sequential([keras.Input((size,)), layers.Dropout(0.3), layers.Dense(1)])


def small_judge(size):
    return keras.Sequential([keras.Input((size,)), layers.Dense(1)])


def samples(n=24):
    return np.random.default_rng(0).normal(size=(n, 6)).astype("float32")


def teacher_class(students=small, teacher=None, optimizer=None, **kwargs):
    keras.utils.set_random_seed(3)
    if not isinstance(students, list) and "chunks" not in kwargs:
        kwargs.setdefault("n", 2)
    model = kd.TeacherClass(teacher or dense_teacher(), "features", students, **kwargs)
    model.compile(optimizer or keras.optimizers.SGD(0.1))
    return model


def features(teacher, layer="features", linear=False):
    cut = keras.Model(teacher.inputs, teacher.get_layer(layer).output)
    copy = keras.models.clone_model(cut)
    copy.set_weights(cut.get_weights())
    if linear:
        copy.get_layer(layer).activation = keras.activations.linear
    return copy


def perfect(teacher, layer, chunks, linear=False):
    """Students that know their chunks by heart, with weights of their own."""
    students = []
    for chunk in chunks:
        inputs = keras.Input(teacher.input_shape[1:])
        teacher_outputs = features(teacher, layer, linear)(inputs)
        students.append(keras.Model(inputs, ops.take(teacher_outputs, chunk, axis=-1)))
    return students


def assert_same_weights(one, other):
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Together they are the teacher.


@pytest.mark.parametrize("mimic", ["output", "preactivation"])
@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_with_perfect_students_the_assembled_model_is_the_teacher(activation, mimic):
    teacher, x = dense_teacher(activation), samples()
    if activation is None and mimic == "preactivation":
        return
    students = perfect(teacher, "features", PERMUTED, mimic == "preactivation")
    model = teacher_class(students, teacher, chunks=PERMUTED, mimic=mimic)
    assert model.evaluate(x, verbose=0) == [0.0] * 4
    np.testing.assert_allclose(model.assemble()(x), teacher(x), atol=1e-5)
    given = model.assemble(head=None)(x)
    np.testing.assert_allclose(given, features(teacher)(x), atol=1e-5)


@pytest.mark.parametrize("layer", ["conv", "relu", "pool", "features", "logits"])
def test_the_layer_may_be_a_map_a_pooled_feature_or_the_output(layer):
    teacher, x = toy.cnn("teacher", seed=1), toy.data(4)[0]
    chunks = [[3, 1], sorted(set(range(teacher.get_layer(layer).output.shape[-1])) - {1, 3})]
    students = perfect(teacher, layer, chunks)
    model = kd.TeacherClass(teacher, layer, students, chunks=chunks).assemble()
    np.testing.assert_allclose(model(x), teacher(x), atol=1e-5)


def test_students_that_say_less_than_nothing_are_cut_off_by_the_teachers_relu():
    inputs = keras.Input((6,))
    students = [keras.Model(inputs, layers.Dense(8, use_bias=False)(inputs))]
    given = teacher_class(students).assemble(head=None)(samples())
    np.testing.assert_array_equal(given, np.maximum(students[0](samples()), 0))


def test_one_student_and_nested_teachers_will_do():
    x = samples()
    inputs = keras.Input((6,))
    teacher = keras.Model(inputs, layers.Dense(3)(dense_teacher()(inputs)), name="outer")
    students = perfect(teacher.get_layer("teacher"), "features", [list(range(8))])
    model = kd.TeacherClass(teacher, "teacher/features", students).assemble()
    np.testing.assert_allclose(model(x), teacher(x), atol=1e-5)


def test_students_and_teachers_may_be_subclassed_models():
    class Subclassed(keras.Model):
        def __init__(self, units):
            super().__init__(name="subclassed")
            self.features = layers.Dense(5, activation="relu", name="features")
            self.head = layers.Dense(units)

        def call(self, x):
            return self.head(self.features(x))

    def built(units):
        model = Subclassed(units)
        model(samples())
        return model

    teacher, x = built(3), samples()
    hidden = teacher.features(x)
    before = hidden.numpy() @ np.eye(5)
    model = kd.TeacherClass(teacher, "features", built, n=2)
    teacher_outputs = np.concatenate(model.predict(x, verbose=0), axis=-1)
    np.testing.assert_allclose(
        model.assemble(head=None)(x), np.maximum(teacher_outputs, 0), rtol=1e-5, atol=1e-6
    )
    model.compile("sgd")
    logs = model.fit(x, verbose=0).history
    np.testing.assert_allclose(
        logs["student_0"][0], np.mean((before[:, :3] - teacher_outputs[:, :3]) ** 2), rtol=1e-5
    )


def test_tokens_stay_integers_and_a_teacher_may_prepare_its_own_input():
    inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(9, 4)(inputs)
    x = layers.Dense(6, activation="relu", name="features")(layers.GlobalMaxPooling1D()(x))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="head")(x))
    teacher = kd.Teacher(model, preprocessing=lambda tokens: tokens + 1)

    def student(size):
        parts = [layers.Embedding(9, 2), layers.GlobalAveragePooling1D(), layers.Dense(size)]
        return keras.Sequential([keras.Input((7,), dtype="int32"), *parts])

    tokens = np.random.default_rng(0).integers(0, 8, (5, 7))
    pair = kd.TeacherClass(teacher, "features", student, n=2)
    expected = [
        np.mean((features(model)(tokens + 1)[:, part] - teacher_outputs) ** 2)
        for part, teacher_outputs in zip(
            (slice(0, 3), slice(3, 6)), pair.predict(tokens, verbose=0), strict=True
        )
    ]
    pair.compile("sgd")
    np.testing.assert_allclose(pair.evaluate(tokens, verbose=0)[1:], expected, rtol=1e-5)
    assembled = pair.assemble()
    assert keras.backend.standardize_dtype(assembled.inputs[0].dtype) == "int32"
    assert assembled(tokens).shape == (5, 1)


# What each learns.


def test_chunks_and_numbers_may_be_arrays():
    for chunks in (np.array([5, 3]), np.arange(8).reshape(2, 4), (np.int32(5), 3)):
        model = build(chunks=chunks, only=np.array([1]))
        assert model.chunks[1] == ([4, 5, 6, 7] if np.ndim(chunks) == 2 else [5, 6, 7])
        assert model.numbers == [1]


@pytest.mark.parametrize("chunks", [None, [5, 3], PERMUTED])
def test_each_students_loss_is_the_mean_squared_difference_to_its_chunk(chunks):
    teacher, x = dense_teacher(), samples()
    model = teacher_class(teacher=teacher, chunks=chunks, n=None if chunks else 3)
    whole, teacher_outputs = features(teacher)(x).numpy(), model.predict(x, verbose=0)
    units = {None: [[0, 1, 2], [3, 4, 5], [6, 7]], 5: [[0, 1, 2, 3, 4], [5, 6, 7]]}
    units = PERMUTED if chunks is PERMUTED else units[chunks and chunks[0]]
    assert model.chunks == units
    expected = [
        np.mean((whole[:, u] - s) ** 2) for u, s in zip(units, teacher_outputs, strict=True)
    ]
    history = model.fit(x, batch_size=24, verbose=0).history
    found = [history[f"student_{i}"][0] for i in range(len(units))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(history["loss"][0], sum(expected), rtol=1e-5)


def test_students_learn_and_the_teacher_stays_as_it_was():
    teacher, x = dense_teacher(), samples()
    before = teacher.get_weights()
    model = teacher_class(teacher=teacher, optimizer=keras.optimizers.Adam(0.1))
    history = model.fit(x, batch_size=24, epochs=25, verbose=0).history
    for name in ("loss", "student_0", "student_1"):
        assert history[name][-1] < 0.5 * history[name][0]
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.trainable


def test_the_teacher_runs_once_per_step_and_per_evaluated_batch_and_never_in_predict():
    teacher, counter = toy.counted(dense_teacher())
    model = kd.TeacherClass(teacher, "teacher/features", small, n=3)
    model.compile("sgd")
    x = samples()
    model.fit(x, batch_size=6, verbose=0)
    assert int(counter.count) == 4
    model.predict(x, verbose=0)
    assert int(counter.count) == 4
    model.evaluate(x, batch_size=12, verbose=0)
    assert int(counter.count) == 6


def test_labels_are_ignored_and_sample_weights_count():
    x, y, w = samples(), np.zeros(24), np.linspace(0, 2, 24).astype("float32")
    forms = [(x,), (x, y), (x, y, w)]
    logs = []
    for form in forms:
        data = tf.data.Dataset.from_tensor_slices(form if len(form) > 1 else x).batch(24)
        logs.append(teacher_class().fit(data, verbose=0).history)
    assert logs[0] == logs[1]
    model = teacher_class()
    teacher_outputs, whole = model.predict(x, verbose=0), features(dense_teacher())(x).numpy()
    expected = np.mean(w * np.mean((whole[:, :4] - teacher_outputs[0]) ** 2, axis=1))
    np.testing.assert_allclose(logs[2]["student_0"][0], expected, rtol=1e-5)
    found = model.fit(x, sample_weight=w, verbose=0).history
    np.testing.assert_allclose(found["loss"], logs[2]["loss"], rtol=1e-5)


def test_regularisation_and_the_losses_weight_are_in_the_total():
    def regularised(size):
        return keras.Sequential([keras.Input((6,)), layers.Dense(size, kernel_regularizer="l2")])

    model = teacher_class(regularised, loss=kd.losses.ChunkMimicry(weight=0.5))
    extra = sum(float(ops.sum(student.losses)) for student in model.students)
    logs = model.fit(samples(), batch_size=24, verbose=0).history
    parts = logs["student_0"][0] + logs["student_1"][0]
    np.testing.assert_allclose(logs["loss"][0], 0.5 * parts + extra, rtol=1e-5)


def test_correlated_units_share_a_chunk_on_every_run():
    teacher, x = dense_teacher(None), samples(300)
    kernel = np.random.default_rng(1).normal(size=(6, 3))[:, [0, 1, 2, 0, 1, 2, 0, 1]]
    teacher.get_layer("features").set_weights([kernel * [1, 2, 3, -1, 1, 1, 5, 1], np.ones(8)])
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(300))).batch(64)
    for given in (x, data):
        model = teacher_class(teacher=teacher, chunks=[3, 3, 2], split="correlated", data=given)
        assert sorted(model.chunks) == [[0, 3, 6], [1, 4, 7], [2, 5]]


# Adversarial mimicry.


def test_discriminators_are_trained_in_the_same_fit_by_an_optimizer_of_their_own():
    teacher, x = dense_teacher(), samples()

    def plain_judge(size):
        return keras.Sequential([keras.Input((size,)), layers.Dense(1)])

    optimizer = keras.optimizers.SGD(0.5)
    model = teacher_class(
        teacher=teacher, discriminators=plain_judge, discriminator_optimizer=optimizer
    )
    chunk, teacher_outputs = features(teacher)(x)[:, :4], model.predict(x, verbose=0)[0]
    kernel, bias = model.discriminators[0].get_weights()
    real, fake = chunk @ kernel + bias, teacher_outputs @ kernel + bias
    logs = model.fit(x, batch_size=24, verbose=0).history
    fooled = np.mean(np.logaddexp(0, -fake))
    told = (np.mean(np.logaddexp(0, -real)) + np.mean(np.logaddexp(0, fake))) / 2
    np.testing.assert_allclose(logs["adversarial_0"][0], fooled, rtol=1e-5)
    np.testing.assert_allclose(logs["discriminator_0"][0], told, rtol=1e-5)
    parts = sum(logs[f"student_{i}"][0] + 0.1 * logs[f"adversarial_{i}"][0] for i in (0, 1))
    np.testing.assert_allclose(logs["loss"][0], parts, rtol=1e-5)
    slope = (1 / (1 + np.exp(-fake)) - 1 / (1 + np.exp(real))).mean() / 2
    np.testing.assert_allclose(
        model.discriminators[0].get_weights()[1], bias - 0.5 * slope, atol=1e-6
    )
    assert not {id(v) for v in model.trainable_variables} & {
        id(v) for judge in model.discriminators for v in judge.variables
    }


def test_validation_shows_mimicry_alone():
    model = teacher_class(discriminators=judge)
    history = model.fit(samples(), validation_data=(samples(),), verbose=0).history
    parts = {f"{part}_{i}" for part in ("student", "adversarial", "discriminator") for i in (0, 1)}
    assert set(history) == {"loss", *parts, "val_loss", "val_student_0", "val_student_1"}


# Apart they learn what they learn together.


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_student_trained_alone_gets_the_weights_that_the_joint_fit_gives_it(optimizer):
    def run(only=None):
        chosen = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[optimizer]
        model = teacher_class(
            dropping, n=2, only=only, discriminators=judge, optimizer=chosen(0.05, clipnorm=0.1)
        )
        keras.utils.set_random_seed(9)
        history = model.fit(samples(), batch_size=8, epochs=2, verbose=0).history
        return model, history

    (joint, together), (alone, apart) = run(), run(only=[1])
    assert set(apart) == {"loss", "student_1", "adversarial_1", "discriminator_1"}
    assert len(alone.students) == 1
    pairs = [
        (joint.students[1], alone.students[0]),
        (joint.discriminators[1], alone.discriminators[0]),
    ]
    for one, other in pairs:
        for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(apart["student_1"], together["student_1"], rtol=1e-6)


def test_students_from_files_are_assembled_as_the_class_that_wrote_them(tmp_path):
    teacher, x = dense_teacher(), samples()
    model = teacher_class(teacher=teacher, chunks=PERMUTED)
    files = [tmp_path / f"student_{i}.keras" for i in range(3)]
    for student, file in zip(model.students, files, strict=True):
        student.save(file)
    again = kd.TeacherClass.assemble_from(teacher, "features", files, chunks=PERMUTED)
    np.testing.assert_array_equal(again(x), model.assemble()(x))
    alone = kd.TeacherClass(
        teacher, "features", [model.students[2]], chunks=PERMUTED, only=[2], name="alone"
    )
    with pytest.raises(ValueError, match=r"'alone' has the students \[2\] of 3.*assemble_from"):
        alone.assemble()


@pytest.mark.parametrize("layer", ["features", "conv"])
def test_a_lost_student_is_reported_and_its_chunk_filled_by_the_mean(layer, tmp_path):
    teacher, x = toy.cnn("teacher", seed=1), toy.data()[0]
    units = teacher.get_layer(layer).output.shape[-1]
    chunks = [list(range(1, units)), [0]]
    students = perfect(teacher, layer, chunks)
    with pytest.warns(UserWarning, match=r"students \[1\] of 2 are lost"):
        model = kd.TeacherClass.assemble_from(
            teacher, layer, [students[0], tmp_path / "lost.keras"], chunks, data=x, head=None
        )
    whole = features(teacher, layer)(x).numpy()
    np.testing.assert_allclose(model(x)[..., 1:], whole[..., 1:], atol=1e-5)
    np.testing.assert_allclose(
        model(x)[..., 0], np.full(whole[..., 0].shape, whole[..., 0].mean()), rtol=1e-4
    )
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(x), model(x))


def test_files_that_cannot_be_used_are_refused(tmp_path):
    teacher, student = dense_teacher(), small(4)
    with pytest.raises(ValueError, match="at least one student must be there"):
        kd.TeacherClass.assemble_from(teacher, "features", [None, None])
    with pytest.raises(ValueError, match=r"students \[1\] are lost. Pass samples as `data`"):
        kd.TeacherClass.assemble_from(teacher, "features", [student, None])
    (tmp_path / "broken.keras").write_text("nothing")
    with pytest.raises(ValueError, match=r"student 1 cannot be read.*pass None"):
        kd.TeacherClass.assemble_from(teacher, "features", [student, tmp_path / "broken.keras"])
    with pytest.raises(TypeError, match="must hold paths, models or None"):
        kd.TeacherClass.assemble_from(teacher, "features", [student, 3])


# The assembled model is a plain one.


def test_fine_tuning_the_assembled_model_never_changes_the_teacher(tmp_path):
    teacher, x = dense_teacher(), samples()
    before = teacher.get_weights()
    model = teacher_class(teacher=teacher).assemble()
    assert model.trainable_weights
    own = [w.numpy() for w in model.get_layer("teacher_head").weights]
    y = np.arange(24) % 4
    distiller = kd.Distiller(model, teacher)
    distiller.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy())
    distiller.fit(x, y, verbose=0)
    assert not np.array_equal(own[0], model.get_layer("teacher_head").weights[0])
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(x), model(x))


def test_it_is_exported_to_int8_also_with_permuted_units(tmp_path):
    teacher, x = toy.cnn("teacher", seed=1, activation="softmax"), toy.data()[0]
    students = perfect(teacher, "features", PERMUTED)
    model = kd.TeacherClass(teacher, "features", students, chunks=PERMUTED).assemble()
    file = kd.export.to_tflite(model, tmp_path / "m.tflite", "int8", calibration=x)
    np.testing.assert_allclose(file.predict(x), model(x), atol=0.1)


def test_a_head_of_ones_own_is_taken_as_it_is():
    model, head = teacher_class(), layers.Dense(2, name="mine")
    assembled = model.assemble(head=head, name="transfer")
    assert (assembled.name, assembled.output_shape) == ("transfer", (None, 2))
    assert assembled.get_layer("mine") is head
    with pytest.raises(TypeError, match="`head` must be 'teacher', a Keras layer"):
        model.assemble(head="teachers")


def test_a_head_whose_copy_would_not_answer_as_the_teacher_is_refused():
    class Stateful(layers.Layer):
        scale = 1.0

        def call(self, x):
            return x * self.scale

    inputs = keras.Input((6,))
    scaled = Stateful()
    x = layers.Dense(8, name="features")(inputs)
    teacher = keras.Model(inputs, scaled(layers.Dense(3)(x)), name="teacher")
    model = teacher_class(teacher=teacher)
    model.assemble()
    scaled.scale = 3.0
    with pytest.raises(ValueError, match="must answer as the teacher does. Received: a difference"):
        model.assemble()


# Checkpoints.


def test_a_run_that_is_stopped_and_resumed_gives_the_weights_of_the_run_that_was_not(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*callbacks):
        model = teacher_class(dropping, optimizer="adam", discriminators=judge)
        model.fit(samples(), batch_size=8, shuffle=False, epochs=3, verbose=0, callbacks=callbacks)
        return model

    expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), Stop())
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path))
    assert_same_weights(expected, resumed)


def test_a_checkpoint_holds_students_and_discriminators_and_no_teacher(tmp_path):
    teacher = dense_teacher()
    model = teacher_class(teacher=teacher, discriminators=judge, optimizer="adam")
    model.fit(samples(), verbose=0)
    model.save_weights(tmp_path / "w.weights.h5")
    found = []
    with h5py.File(tmp_path / "w.weights.h5") as file:
        file.visititems(lambda _, v: found.append(v.shape) if isinstance(v, h5py.Dataset) else None)
    assert teacher.get_layer("features").kernel.shape not in found
    assert found.count((6, 3)) == 2 * 3  # Two students, each with two moments of Adam.
    assert found.count((4, 1)) == 2 * 3
    own = {id(weight) for weight in teacher.weights}
    assert not own & {id(weight) for weight in model.variables}


def test_a_loaded_class_trains_on_as_if_it_had_not_been_saved(tmp_path):
    teacher = dense_teacher()
    model = teacher_class(small, teacher, "adam", discriminators=judge, chunks=PERMUTED)
    model.fit(samples(), verbose=0)
    model.save(tmp_path / "class.keras")
    loaded = keras.models.load_model(tmp_path / "class.keras")
    with pytest.raises(ValueError, match="has no teacher.*set_teacher"):
        loaded.fit(samples(), verbose=0)
    loaded.set_teacher(teacher)
    for one in (model, loaded):
        one.fit(samples(), shuffle=False, verbose=0)
    assert_same_weights(model, loaded)


def test_a_teacher_that_is_set_later_is_the_one_that_teaches():
    model, other = teacher_class(), dense_teacher()
    x = samples()
    model.fit(x, verbose=0)
    model.evaluate(x, verbose=0)
    other.set_weights([3 * weight for weight in other.get_weights()])
    model.set_teacher(other)
    teacher_outputs, whole = model.predict(x, verbose=0), features(other)(x).numpy()
    expected = [
        np.mean((whole[:, i : i + 4] - s) ** 2)
        for i, s in zip((0, 4), teacher_outputs, strict=True)
    ]
    np.testing.assert_allclose(model.evaluate(x, verbose=0)[1:], expected, rtol=1e-5)
    history = model.fit(x, batch_size=24, verbose=0).history
    found = [history["student_0"][0], history["student_1"][0]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Every way of running.


def test_the_step_is_traced_once():
    traced = []

    class Traced(kd.TeacherClass):
        def train_step(self, data):
            traced.append(data)
            return super().train_step(data)

    students = [small(4), small(4)]
    model = Traced(dense_teacher(), "features", students, discriminators=judge)
    model.compile("adam")
    model.fit(samples(), batch_size=8, verbose=0)
    assert len(traced) == 1


@pytest.mark.parametrize("how", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_every_way_of_running_gives_the_same_weights(how):
    models = []
    for kwargs in ({}, how):
        model = teacher_class(chunks=PERMUTED, discriminators=small_judge)
        # With momentum, so that the optimizer has variables of its own.
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), **kwargs)
        model.fit(samples(), batch_size=8, shuffle=False, verbose=0)
        models.append(model.get_weights())
    for one, other in zip(*models, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_mixed_precision_trains_in_finite_numbers():
    teacher = dense_teacher()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = teacher_class(dropping, teacher, "adam", discriminators=judge)
    finally:
        keras.config.set_dtype_policy("float32")
    logs = model.fit(samples(), epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert model.assemble()(samples()).shape == (24, 4)


# Bad input, answered before training.


def shared(n):
    trunk, inputs = layers.Dense(3), keras.Input((6,))
    return [keras.Model(inputs, layers.Dense(4)(trunk(inputs))) for _ in range(n)]


def skipping():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="features")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([x, inputs])), name="teacher")


def build(students=small, layer="features", teacher=None, **kwargs):
    return kd.TeacherClass(teacher or dense_teacher(), layer, students, **kwargs)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: build(layer="feature", n=2), "no layer or output 'feature'.*'features'"),
        (
            lambda: build(layer="five", teacher=deep(), n=2),
            r"vector .* or a map .* Received.*'five'",
        ),
        (lambda: build(teacher=skipping(), n=2), "'teacher' depends on more than its tap"),
        (lambda: build(chunks=[4, 3]), r"add up to the 8 units.*\[4, 3\], which add up to 7"),
        (lambda: build(chunks=[8, 0]), "must be at least 1"),
        (lambda: build(chunks=[[0, 1], [1, 2]]), r"exactly one chunk.*missing \[3, .*twice.*\[1\]"),
        (lambda: build(chunks=[[0, 1], 6]), "list of sizes, or a list of lists"),
        (lambda: build(n=2, chunks=[2, 2, 4]), "a chunk for each of the 2 students"),
        (build, "Pass `n`"),
        (lambda: build(n=9), "`n` must be from 1 to 8"),
        (lambda: build(n=2.5), "`n` must be from 1 to 8.*n=2.5"),
        (lambda: build(n="2"), "`n` must be from 1 to 8.*n='2'"),
        (lambda: build(chunks=4), "list of sizes, or a list of lists.*chunks=4"),
        (lambda: build(chunks="44"), "list of sizes, or a list of lists.*chunks='44'"),
        (lambda: build(chunks=[4.0, 4.0]), "list of sizes, or a list of lists"),
        (lambda: build(chunks=[[0.5, *range(1, 8)]]), "list of sizes, or a list of lists"),
        (lambda: build(n=2, only=1), "`only` must be numbers of students.*only=1"),
        (lambda: build(n=2, only=["a"]), r"`only` must be numbers of students.*only=\['a'\]"),
        (lambda: build(n=2, split="correlated", data=endless()), "repeats without end"),
        (lambda: build(n=2, split="random"), "`split` must be one of"),
        (lambda: build(n=2, split="correlated"), "pass some as `data`"),
        (lambda: build(n=2, mimic="logits"), "`mimic` must be one of"),
        (lambda: build([small(4), small(5)]), r"student 1 .* shape, \(None, 4\).*\(None, 5\)"),
        (lambda: build([small(4)], n=2), "as many students as chunks, 2. Received: 1"),
        (lambda: build(shared(2)), "weights of its own.*numbers 0 and 1 share"),
        (lambda: build([small(4)] * 2), "weights of its own.*numbers 0 and 1 share"),
        (lambda: build([small(4), keras.Sequential([layers.Dense(4)])]), "Number 1 .* not built"),
        (lambda: build(teacher=keras.Sequential([layers.Dense(8)]), n=2), "not built"),
        (lambda: build([toy.mlp("a"), toy.mlp("b")]), r"takes inputs of shape .*\(None, 5\)"),
        (lambda: build([small(4), toy.mlp("b")]), "must take the same inputs"),
        (lambda: build(n=2, only=[2]), "`only` must be numbers of students, from 0 to 1"),
        (lambda: build(n=2, loss="decoupled_kd"), "without labels or classes.*DecoupledKD"),
        (lambda: build(n=2, discriminators=small), "discriminator 0 .* must take its chunk"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(made, sentence):
    with pytest.raises(ValueError, match=sentence):
        made()


def endless():
    return tf.data.Dataset.from_tensor_slices(samples()).batch(8).repeat()


def deep():
    inputs = keras.Input((6,))
    x = layers.Reshape((1, 1, 1, 6), name="five")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="`students` must be a list of built models, or a function"):
        build(small(8))
    with pytest.raises(TypeError, match="A teacher must be a keras.Model"):
        build(teacher="teacher.keras", n=2)


def test_what_would_tie_the_students_together_is_refused_before_training():
    model = teacher_class(optimizer=keras.optimizers.SGD(0.1, global_clipnorm=1.0))
    with pytest.raises(ValueError, match="`global_clipnorm`.*Use `clipnorm`"):
        model.fit(samples(), verbose=0)
    model.compile("sgd", loss="mse", metrics=["accuracy"])
    with pytest.raises(ValueError, match="Received: loss, metrics in `compile`"):
        model.fit(samples(), verbose=0)


def test_a_teacher_that_gives_nan_is_named():
    teacher = dense_teacher(None)
    teacher.get_layer("features").kernel.assign(np.full((6, 8), np.nan))
    with pytest.raises(ValueError, match="Teacher 'teacher' gave NaN"):
        teacher_class(teacher=teacher).fit(samples(), verbose=0)
