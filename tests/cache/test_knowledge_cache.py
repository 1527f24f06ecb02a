"""Training on a cache is training with the live teachers, without running them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.models.taps import Tap
from keras_kd.teachers.class_map import class_map
from keras_kd.teachers.ensemble import Ensemble
from tests import toy
from tests.cache.caches import SAMPLES, build


def test_numpy_reads_the_files(cnn, cache):
    x, _ = toy.data(SAMPLES)
    output = np.load(cache.path / "0.teacher.output.npy", allow_pickle=False)
    features = np.load(cache.path / "0.teacher.features.npy", mmap_mode="r")
    hidden = keras.Model(cnn.input, cnn.get_layer("features").output)
    np.testing.assert_allclose(output, cnn(x, training=False), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features, hidden(x, training=False), rtol=1e-5, atol=1e-6)
    assert len(cache) == SAMPLES


class Tally(keras.layers.Layer):
    """Passes its input on and counts its runs, in no weight of its own."""

    def __init__(self):
        super().__init__()
        # Hidden from Keras, or counting would change the fingerprint.
        self.__dict__["count"] = tf.Variable(0)

    def call(self, x):
        self.count.assign_add(1)
        return x


@pytest.mark.slow
def test_each_teacher_runs_once_over_the_data_and_never_again(samples, tmp_path):
    inputs, tally = keras.Input((6, 6, 1)), Tally()
    teacher = keras.Model(inputs, toy.cnn("teacher", 6)(tally(inputs)))
    options = {"taps": [None, "teacher/features"], "batch_size": 50}
    tally.count.assign(0)
    cache = build(teacher, samples, tmp_path / "c", **options)
    assert int(tally.count) == 2
    build(teacher, samples, tmp_path / "c", **options)
    data = cache.join(samples.batch(50))
    for teachers in (teacher, cache.teachers):
        distiller = kd.Distiller(toy.cnn("student"), teachers)
        distiller.compile("sgd", toy.sparse_loss(), run_eagerly=True)
        distiller.fit(data, verbose=0)
        distiller.evaluate(data, verbose=0)
        assert distiller.predict(data, verbose=0).shape == (SAMPLES, 4)
    students = kd.TeacherClass(teacher, "teacher/features", chunk_student, n=2, mimic="output")
    students.compile("sgd", run_eagerly=True)
    tally.count.assign(0)
    students.fit(data, verbose=0)
    assert int(tally.count) == 0


def chunk_student(size):
    return toy.cnn(f"s{size}", classes=size)


def test_a_data_set_without_labels(cnn, tmp_path):
    x, _ = toy.data(SAMPLES)
    data = tf.data.Dataset.from_tensor_slices(x)
    cache = build(cnn, data, tmp_path / "c")
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers)
    distiller.compile("sgd", run_eagerly=True)
    history = distiller.fit(cache.join(kd.keyed(data).batch(50)), verbose=0).history
    assert list(history) == ["loss", "soft_targets"]


# The same as with a live teacher.

CASES = {
    "noise on a hint": (1, lambda: {"noise": kd.noise.LogitNoise(0.5, taps=["conv"], seed=3)}),
    "screening, noise, combined": (
        2,
        lambda: {
            "weighting": kd.weighting.Screening(keep=1),
            "combine": "probabilities",
            "noise": kd.noise.LogitNoise(0.5, probability=0.5, seed=3),
        },
    ),
    "classes": (2, lambda: {"combine": "logits"}),
}


@pytest.mark.traced
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_outputs_weights_and_noise_are_the_same_to_the_last_bit(case, tmp_path):
    count, options = CASES[case]
    batches = tf.data.Dataset.from_tensor_slices(toy.data(16)).batch(8)
    classes = [[0, 2, 3], [1, 3]] if case == "classes" else [None] * 2
    teachers = [
        kd.Teacher(
            toy.cnn(f"t{i}", 5 + i, len(own or range(4)), ("softmax", None)[i % 2], seed=i),
            classes=own,
        )
        for i, own in enumerate(classes[:count])
    ]
    cache = build(teachers, batches, tmp_path / "c", taps=[None, "conv"], dtype="float32")
    assert [teacher.classes for teacher in cache.teachers] == classes[:count]
    taps = [Tap(None, logits=True), Tap("conv")]
    live, cached = (
        Ensemble(t, taps, class_maps=[class_map(one, 4) for one in t], classes=4, **options())
        for t in (teachers, cache.teachers)
    )

    @tf.function
    def compare(x, y, joined):
        keys = cached.locate_teacher_outputs(joined.teacher_outputs, joined.x)
        outputs = [
            {tap: joined.teacher_outputs[teacher][key] for tap, (teacher, key) in places.items()}
            for places in keys
        ]
        return [
            tf.nest.flatten(
                [[list(o.values()) for o in k.outputs], k.weights, list(k.combined.values())]
            )
            for k in (live(x, y), cached.combine_outputs(outputs, y))
        ]

    for (x, y), (joined, _) in zip(batches, cache.join(batches), strict=True):
        for one, other in zip(*compare(x, y, joined), strict=True):
            if one is not None:
                np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_student_gets_the_weights_of_live_training(samples, cnn, cache):
    weights = []
    for teachers, join in ((cnn, None), (cnn, cache.join), (cache.teachers, cache.join)):
        keras.utils.set_random_seed(0)  # The order of `shuffle` depends on it.
        data = (kd.keyed(samples) if join else samples).shuffle(SAMPLES, seed=1).batch(50)
        data = join(data) if join else data
        losses = [kd.losses.SoftTargets(), kd.losses.Hint("features", "features")]
        distiller = kd.Distiller(toy.cnn("student"), teachers, losses)
        distiller.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), run_eagerly=True)
        distiller.fit(data, verbose=0)
        weights.append(distiller.student.get_weights())
    for expected, *others in zip(*weights, strict=True):
        for other in others:
            np.testing.assert_allclose(other, expected, rtol=1e-5, atol=1e-6)


def test_class_weights_and_callbacks_work_on_joined_data(samples, cache):
    noise = kd.noise.LogitNoise(1.0, seed=0)
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers, noise=noise)
    distiller.compile("sgd", toy.sparse_loss(), metrics=["accuracy"], steps_per_execution=2)
    schedule = kd.callbacks.NoiseScheduler(lambda epoch, value: 0.5)
    data, weights = cache.join(samples.batch(25)), dict.fromkeys(range(4), 2.0)
    distiller.fit(data, epochs=2, callbacks=[schedule], class_weight=weights, verbose=0)
    assert float(noise.stddev) == 0.5


def teacher_class(teacher, **kwargs):
    students = kd.TeacherClass(teacher, "features", chunk_student, n=2, **kwargs)
    students.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return students


def test_teacher_class_gets_the_weights_of_live_training(samples, cnn, cache):
    live, cached = (teacher_class(cnn, mimic="output") for _ in range(2))
    data, validation = samples.batch(50), samples.batch(100)
    one = live.fit(data, verbose=0, validation_data=validation).history
    other = cached.fit(cache.join(data), verbose=0, validation_data=cache.join(validation)).history
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=1e-5)
    for a, b in zip(live.get_weights(), cached.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    predictions = cached.predict(cache.join(validation), verbose=0)
    assert [part.shape for part in predictions] == [(100, 4), (100, 4)]


def test_teacher_class_reports_what_the_cache_does_not_have(samples, cnn, cache):
    joined = cache.join(samples.batch(50))
    with pytest.raises(ValueError, match="mimic='output', or fit on data without a cache"):
        teacher_class(cnn).fit(joined)
    with pytest.raises(ValueError, match="not of teacher 't'"):
        teacher_class(toy.cnn("t", 5), mimic="output").fit(joined)


# Errors.


def test_a_path_without_a_cache_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no manifest.json. Write one"):
        kd.KnowledgeCache(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"taps": ("features", "features")}, "`taps` must be unique"),
        ({"taps": ()}, "`taps` must be names"),
        ({"taps": ("feature",)}, "'features'"),
        ({"dtype": "int8"}, "`dtype` must be one of"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"views": 0}, "`views` must be at least 1"),
        ({"views": 2}, "several `views` need `augment`"),
        ({"augment": lambda x, seed: x}, "several `views` need `augment`"),
        ({"shard": (2, 2)}, "`shard` must be"),
    ],
)
def test_invalid_arguments(arguments, message, samples, cnn, tmp_path):
    with pytest.raises(ValueError, match=message):
        build(cnn, samples, tmp_path / "c", **arguments)
    assert not (tmp_path / "c").exists()


def test_taps_may_be_layers(samples, cnn, tmp_path):
    taps = [None, cnn.get_layer("features")]
    cache = build(cnn, samples, tmp_path / "c", taps=taps, dtype="float32")
    assert [tap.name for tap in cache.manifest.schema.teachers[0].taps] == [None, "features"]
    with pytest.raises(TypeError, match="`taps` must be the name of a layer"):
        build(cnn, samples, tmp_path / "d", taps=[-2])
    with pytest.raises(ValueError, match="the layer passed as `taps` must be one of 'teacher'"):
        build(cnn, samples, tmp_path / "d", taps=[toy.cnn("other").get_layer("features")])


def test_invalid_data_sets(samples, cnn, tmp_path):
    with pytest.raises(TypeError, match="KnowledgeCache.build: the data must be"):
        build(cnn, None, tmp_path / "c")
    with pytest.raises(ValueError, match="repeats indefinitely"):
        build(cnn, samples.repeat(), tmp_path / "c")
    vectors = tf.data.Dataset.from_tensor_slices(np.zeros((9, 5), "float32"))
    with pytest.raises(ValueError, match=r"takes batches of shape .*Received: x of float32 \(5,\)"):
        build(cnn, vectors, tmp_path / "c")
    with pytest.raises(ValueError, match="pass at least one live teacher"):
        build([], samples, tmp_path / "c")
