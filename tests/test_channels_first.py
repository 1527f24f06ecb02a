"""Models with `data_format="channels_first"` are distilled as their channels-last twins."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.distillers.distillation_objective import DistillationObjective

FIRST, LAST = "channels_first", "channels_last"
X = np.random.default_rng(0).normal(size=(8, 6, 4, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 5, (8, 6, 4))


def images(layout):
    return X if layout == LAST else np.moveaxis(X, -1, 1)


def segmenter(name, layout, filters=4, seed=1, classes=5, softmax=False):
    """Taps `maps`, `relu` and `logits`; the same weights in both layouts."""
    keras.utils.set_random_seed(seed)
    form, axis = {"data_format": layout}, 1 if layout == FIRST else -1
    image = keras.Input(images(layout).shape[1:])
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name="maps", **form)(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(axis=axis, name="norm")(x))
    x = layers.Conv2D(classes, 1, name="logits", **form)(x)
    return keras.Model(image, layers.Softmax(axis=axis)(x) if softmax else x, name=name)


def swap(layout):
    """A preprocessing of inputs of one layout for a teacher of the other."""
    axes = (0, 2, 3, 1) if layout == FIRST else (0, 3, 1, 2)
    return lambda x: ops.transpose(x, axes)


def hard(layout, from_logits=True):
    """The cross-entropy of each pixel; Keras's own is for the last axis only."""

    def loss(y, y_pred):
        y_pred = ops.moveaxis(y_pred, 1, -1) if layout == FIRST else y_pred
        return keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=from_logits)

    return loss


LOSSES = [
    kd.losses.SoftTargets(2.0),
    kd.losses.SoftTargets(2.0, activation="sigmoid"),
    kd.losses.OutputsMSE(),
    kd.losses.DecoupledKD(),
    kd.losses.NormalizedKD(),
    kd.losses.DIST(),
    kd.losses.TAID(),
    kd.losses.LogitStandardization(),
    kd.losses.ChunkMimicry(teacher_tap="logits", student_tap="logits"),
    kd.losses.Hint("relu", "relu"),
    kd.losses.Hint("maps", "relu", distance="cosine"),
    kd.losses.Hint(taps=[("maps", "maps"), ("relu", "logits")]),
    kd.losses.Hint(taps="auto"),
    kd.losses.AttentionTransfer("relu", "maps"),
    kd.losses.NeuronSelectivity("relu", "maps"),
    kd.losses.ChannelWise(skip_unlabeled=True),
    kd.losses.PearsonFeatures("relu", "maps"),
    kd.losses.MaskedGeneration("relu", "maps", seed=4),
    kd.losses.SimilarityPreserving("relu", "relu"),
    kd.losses.RelationalKD("relu", "relu"),
    kd.losses.ProbabilisticTransfer("relu", "relu"),
    kd.losses.ContrastiveRepresentation("relu", "relu", embedding=4, bank_size=8),
]


def compiled(losses, student_layout, teacher_layout=None, softmax=False, **kwargs):
    """A distiller of two segmenters; the teacher of another layout has a preprocessing."""
    teacher_layout = teacher_layout or student_layout
    student = segmenter("student", student_layout, softmax=softmax)
    teacher = segmenter("teacher", teacher_layout, 6, seed=2, softmax=softmax)
    same = student_layout == teacher_layout
    teacher = kd.Teacher(teacher, preprocessing=None if same else swap(student_layout))
    keras.utils.set_random_seed(3)
    model = kd.Distiller(student, teacher, losses, **kwargs)
    loss = hard(student_layout, not softmax)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    return model


def one_step(losses, student_layout, teacher_layout=None, y=Y, weights=None, **kwargs):
    """The history of one step, and the weights after it."""
    copies = [kd.losses.deserialize(kd.losses.serialize(loss)) for loss in losses]
    model = compiled(copies, student_layout, teacher_layout, **kwargs)
    x = images(student_layout)
    logs = model.fit(x, y, sample_weight=weights, batch_size=8, verbose=0).history
    return logs, model.get_weights()


def assert_equal(one, other):
    """Compare the results of two calls of `one_step`."""
    (logs, weights), (expected, after) = one, other
    assert logs.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-4, err_msg=name)
    for found, wanted in zip(weights, after, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def channels_last():
    return one_step(LOSSES, LAST)


@pytest.mark.parametrize("layouts", [(FIRST, FIRST), (FIRST, LAST), (LAST, FIRST)])
def test_every_loss_trains_as_with_the_channels_last(layouts, channels_last):
    assert_equal(one_step(LOSSES, *layouts), channels_last)


@pytest.mark.parametrize(
    ("labels", "weights"),
    [
        (np.where(Y > 3, kd.UNLABELED, Y), None),
        (Y, np.random.default_rng(2).uniform(size=(8, 6, 4)).astype("float32")),
    ],
    ids=["unlabeled", "pixels"],
)
def test_labels_and_weights_of_pixels_apply_to_them(labels, weights):
    losses = [kd.losses.SoftTargets(), kd.losses.DecoupledKD(), kd.losses.Hint("relu", "relu")]
    given = {"y": labels, "weights": weights}
    assert_equal(one_step(losses, FIRST, **given), one_step(losses, LAST, **given))


def test_a_softmax_over_the_channels_is_the_head():
    given = {"losses": [kd.losses.SoftTargets(), kd.losses.OutputsMSE()], "softmax": True}
    first, last = (one_step(student_layout=layout, **given) for layout in (FIRST, LAST))
    assert_equal(first, last)
    plain = one_step(given["losses"], FIRST)
    np.testing.assert_allclose(first[0]["soft_targets"], plain[0]["soft_targets"], rtol=1e-4)


def value(loss, layout, y, **kwargs):
    """The value of a loss on a batch."""
    teachers = [segmenter(f"t{seed}", layout, seed=seed) for seed in (2, 3)]
    if "class_names" in kwargs:
        few = segmenter("few", layout, seed=4, classes=2)
        teachers = [teachers[0], kd.Teacher(few, classes=["d", "b"])]
    parts = DistillationObjective(segmenter("student", layout), loss, teachers, **kwargs)
    _, student_outputs = parts.student(images(layout))
    knowledge = parts.teach_before(parts.run_teachers(images(layout)), y)
    return float(parts.term(0, knowledge, student_outputs, y, None))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"combine": "probabilities"},
        {"weighting": kd.weighting.CrossEntropy()},
        {"class_names": "abcde"},
    ],
    ids=["plain", "combine", "weighting", "classes"],
)
@pytest.mark.parametrize("one_hot", [False, True])
def test_labels_in_rows_have_the_layout_of_the_output(given, one_hot):
    given = {name: list(v) if name == "class_names" else v for name, v in given.items()}
    rows = np.eye(5, dtype="float32")[Y]
    found, expected = (
        value(kd.losses.DecoupledKD(), layout, rows if one_hot else Y, **given)
        for layout, rows in ((FIRST, np.moveaxis(rows, -1, 1)), (LAST, rows))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_sequences_have_their_channels_on_axis_1_too():
    def network(name, layout, seed):
        keras.utils.set_random_seed(seed)
        steps = keras.Input((4, 6) if layout == FIRST else (6, 4))
        x = layers.Conv1D(3 + seed, 3, data_format=layout, name="steps")(steps)
        mean = layers.GlobalAveragePooling1D(data_format=layout)(x)
        return keras.Model(steps, layers.Dense(5)(mean), name=name)

    x = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")
    values = []
    for layout in (FIRST, LAST):
        losses = [kd.losses.AttentionTransfer("steps", "steps"), kd.losses.Hint("steps", "steps")]
        parts = DistillationObjective(
            network("student", layout, 1), losses, network("teacher", layout, 2)
        )
        inputs = np.moveaxis(x, -1, 1) if layout == FIRST else x
        keras.utils.set_random_seed(5)
        (projector,) = parts.projectors.values()
        projector.set_weights([np.ones_like(weight) for weight in projector.get_weights()])
        _, outputs = parts.student(inputs)
        knowledge = parts.teach_before(parts.run_teachers(inputs), None)
        values.append([float(parts.term(i, knowledge, outputs, None, None)) for i in (0, 1)])
    np.testing.assert_allclose(*values, rtol=1e-5)


def test_projectors_do_not_depend_on_the_configuration_of_keras():
    keras.config.set_image_data_format(FIRST)
    try:
        for teacher, student in (
            ((None, 3, 2, 5), (None, 6, 4, 7)),
            ((None, 6, 4, 5), (None, 3, 2, 7)),
            ((None, 3, 5), (None, 6, 7)),
        ):
            projector = kd.losses.Hint("a", "b").make_projector(teacher, student)
            projector.build(student)
            assert projector(np.ones((2, *student[1:]))).shape == (2, *teacher[1:])
        wrapped = kd.with_teacher_head(
            segmenter("student", LAST), segmenter("teacher", LAST, 6), "relu", "relu"
        )
        assert wrapped(X).shape == (8, 6, 4, 5)
    finally:
        keras.config.set_image_data_format(LAST)


@pytest.mark.parametrize("student_layout", [FIRST, LAST])
@pytest.mark.parametrize("teacher_layout", [FIRST, LAST])
def test_the_head_of_a_teacher_gets_its_own_layout(student_layout, teacher_layout):
    student, teacher = segmenter("student", student_layout), segmenter("teacher", teacher_layout, 6)
    model = kd.with_teacher_head(student, teacher, "relu", "relu")
    given = None if student_layout == teacher_layout else swap(student_layout)
    hint = kd.losses.Hint("relu", "teacher_features")
    parts = DistillationObjective(model, hint, kd.Teacher(teacher, preprocessing=given))
    assert parts.projectors == {}
    _, values = parts.student(images(student_layout))
    (features,) = values.values()
    kernel, bias = teacher.get_layer("logits").get_weights()
    expected = np.asarray(features) @ kernel[0, 0] + bias
    axis = 1 if teacher_layout == FIRST else -1
    outputs = np.moveaxis(model(images(student_layout), training=True), axis, -1)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_pairs_of_taps_are_chosen_by_the_positions_of_the_maps():
    pairs = [
        kd.pair_taps(segmenter("teacher", layout, 6), segmenter("student", other))
        for layout in (FIRST, LAST)
        for other in (FIRST, LAST)
    ]
    assert pairs.count(pairs[0]) == 4
    (maps,) = (tap for tap in kd.taps(segmenter("student", FIRST)) if tap.name == "maps")
    assert (maps.shape, maps.channel_axis, maps.positions) == ((None, 4, 6, 4), 1, 24)


def deep(layout, tap, y=Y):
    """The history of early exits from a tap."""
    model = kd.DeepSupervision(segmenter("student", layout), [tap], kd.losses.SoftTargets())
    exits = model.exits[tap]
    exits.set_weights([np.full_like(weight, 0.1) for weight in exits.get_weights()])
    model.compile(keras.optimizers.SGD(0.0), hard(layout), run_eagerly=True)
    return model.fit(images(layout), y, batch_size=8, verbose=0).history


def test_early_exits_have_the_layout_of_the_student():
    logs, expected = deep(FIRST, "relu"), deep(LAST, "relu")
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-4)


def test_an_exit_to_another_layout_must_be_given():
    image = keras.Input(images(FIRST).shape[1:])
    maps = layers.Conv2D(4, 3, padding="same", name="maps", data_format=FIRST)(image)
    logits = layers.Conv2D(5, 1, data_format=LAST)(layers.Permute((2, 3, 1))(maps))
    student = keras.Model(image, logits)
    with pytest.raises(ValueError, match=r"no default exit from the tap 'maps'.*\(None, 4, 6, 4\)"):
        kd.DeepSupervision(student, ["maps"])
    own = keras.Sequential([layers.Permute((2, 3, 1)), layers.Dense(5)])
    model = kd.DeepSupervision(student, {"maps": own}, kd.losses.SoftTargets())
    model.compile(keras.optimizers.SGD(0.0), hard(LAST), run_eagerly=True)
    logs = model.fit(images(FIRST), Y, batch_size=8, verbose=0).history
    outputs = own(keras.Model(image, maps)(images(FIRST)))
    expected = np.mean(hard(LAST)(Y, outputs))
    np.testing.assert_allclose(logs["exit_loss"], [expected], rtol=1e-4)


@pytest.mark.slow
def test_a_cache_gives_the_loss_of_the_live_teacher(tmp_path):
    losses = lambda: [kd.losses.SoftTargets(), kd.losses.AttentionTransfer("relu", "relu")]  # noqa: E731
    model = compiled(losses(), FIRST)
    expected = model.fit(images(FIRST), Y, batch_size=8, shuffle=False, verbose=0).history
    data = tf.data.Dataset.from_tensor_slices((images(FIRST), Y)).batch(8)
    model = compiled(losses(), FIRST)
    cache = kd.KnowledgeCache.build(
        model.teachers[0], data, tmp_path / "cache", taps=[None, "relu"], verbose=False
    )
    logs = model.fit(cache.join(data), verbose=0).history
    for name in ("soft_targets", "attention_transfer"):
        np.testing.assert_allclose(logs[name], expected[name], rtol=1e-3)


def test_a_tap_whose_channels_may_have_moved_is_rejected():
    image = keras.Input(images(FIRST).shape[1:])
    x = layers.Conv2D(4, 1, data_format=FIRST)(image)
    x = layers.Reshape((8, 12), name="mixed")(x)
    student = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)), name="student")
    teacher = keras.models.clone_model(student)
    with pytest.raises(ValueError, match="channels at 'mixed' of 'student' is not known.*Permute"):
        kd.Distiller(student, teacher, kd.losses.Hint("mixed", "mixed"))
    kd.Distiller(student, teacher, kd.losses.SoftTargets())


def test_maps_of_a_model_that_cannot_be_read_are_rejected():
    class Opaque(keras.Model):
        def __init__(self):
            super().__init__(name="opaque")
            self.maps = layers.Conv2D(4, 1, data_format=FIRST)

        def call(self, x):
            return self.maps(tf.nn.relu(x))

    model = Opaque()
    model(images(FIRST))
    with pytest.raises(ValueError, match="channels at the output of 'opaque' is not known"):
        kd.Distiller(model, model, kd.losses.OutputsMSE(), student_outputs="logits")


def test_scores_and_answers_of_a_map_need_the_classes_on_the_last_axis(tmp_path):
    model = segmenter("seg", FIRST)
    data = tf.data.Dataset.from_tensor_slices((images(FIRST), Y)).batch(8)
    message = r"'logits' of 'seg'.*classes on axis 1.*keras.layers.Permute\(\(2, 3, 1\)\)"
    with pytest.raises(ValueError, match=message):
        kd.report.compare({"teacher": model, "student": model}, data)
    for answer in ("argmax", "softmax"):
        with pytest.raises(ValueError, match=message):
            kd.export.to_tflite(model, tmp_path / "model.tflite", answer=answer)
    last = keras.Model(model.input, layers.Permute((2, 3, 1))(model.output), name="seg")
    last.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    report = kd.report.compare({"teacher": last, "student": last}, data, runs=1)
    found = report.entries[0].accuracy
    np.testing.assert_allclose(found, np.mean(np.argmax(last(images(FIRST)), -1) == Y))


def test_chunks_of_maps_with_the_channels_first_are_rejected():
    teacher = segmenter("teacher", FIRST)
    with pytest.raises(ValueError, match="layer 'relu' of 'teacher' returns maps with data_format"):
        kd.TeacherClass(teacher, "relu", [segmenter("student", FIRST)])
