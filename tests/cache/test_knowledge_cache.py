"""Knowledge on disk: found by its key, the same as a live teacher's, and no teacher that runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.training.distribution import replica_id
from tests import toy

SAMPLES = 100


@pytest.fixture
def samples():
    return tf.data.Dataset.from_tensor_slices(toy.data(SAMPLES))


def build(teachers, dataset, path, **kwargs):
    return kd.KnowledgeCache.build(teachers, dataset, path, verbose=0, **kwargs)


def logits(element):
    """What the single teacher of a lesson says at its first tap."""
    (teacher_outputs,) = element[0].teacher_outputs.values()
    return next(iter(teacher_outputs.values()))


# What is on disk.


def test_numpy_alone_reads_what_the_teacher_said(samples, tmp_path):
    teacher, (x, _) = toy.cnn("teacher", 6), toy.data(SAMPLES)
    build(teacher, samples, tmp_path / "c", taps=[None, "features"], dtype="float32")
    output = np.load(tmp_path / "c" / "0.teacher.output.npy", allow_pickle=False)
    features = np.load(tmp_path / "c" / "0.teacher.features.npy", mmap_mode="r")
    np.testing.assert_allclose(output, teacher.predict(x, verbose=0), rtol=1e-6)
    hidden = keras.Model(teacher.input, teacher.get_layer("features").output)
    np.testing.assert_allclose(features, hidden.predict(x, verbose=0), rtol=1e-6)


def test_of_an_output_of_probabilities_the_logits_are_stored(samples, tmp_path):
    teacher, plain = toy.cnn("t", 6, activation="softmax"), toy.cnn("t", 6)
    build(teacher, samples, tmp_path / "c", dtype="float32")
    stored = np.load(tmp_path / "c" / "0.t.output.npy")
    np.testing.assert_allclose(stored, plain.predict(toy.data(SAMPLES)[0], verbose=0), rtol=1e-5)


def test_half_precision_is_the_default_and_comes_back_as_the_teacher_gave_it(samples, tmp_path):
    cache = build(toy.cnn("teacher", 6), samples, tmp_path / "c")
    stored = np.load(tmp_path / "c" / "0.teacher.output.npy")
    assert stored.dtype == np.float16
    joined = logits(next(iter(cache.join(samples.batch(SAMPLES)))))
    assert joined.dtype == tf.float32
    np.testing.assert_array_equal(joined, stored.astype("float32"))


class Tally(keras.layers.Layer):
    """Passes its input on and counts how often it ran, in no weight of its own."""

    def __init__(self):
        super().__init__()
        # Past Keras and TensorFlow, or counting would change the teacher.
        self.__dict__["count"] = tf.Variable(0)

    def call(self, x):
        self.count.assign_add(1)
        return x


def test_each_teacher_runs_once_over_the_data_and_not_at_all_afterwards(samples, tmp_path):
    inputs, counter = keras.Input((6, 6, 1)), Tally()
    teacher = keras.Model(inputs, toy.cnn("teacher", 6)(counter(inputs)))
    counter.count.assign(0)
    cache = build(teacher, samples, tmp_path / "c", batch_size=20)
    assert int(counter.count) == 5
    build(teacher, samples, tmp_path / "c", batch_size=20)  # There already.
    for teachers in (teacher, cache.teachers):
        distiller = kd.Distiller(toy.cnn("student"), teachers)
        distiller.compile("sgd", toy.sparse_loss())
        data = cache.join(samples.batch(20))
        distiller.fit(data, validation_data=data, epochs=2, verbose=0)
        distiller.evaluate(data, verbose=0)
        assert distiller.predict(data, verbose=0).shape == (SAMPLES, 4)
    assert int(counter.count) == 5


# Found by its key.


def pipelines():
    return {
        "samples, then shuffled": lambda d, join: join(d).shuffle(50, seed=1).batch(7),
        "samples, then repeated": lambda d, join: join(d).repeat(2).shuffle(50).batch(7),
        "batches in order": lambda d, join: join(d.batch(7)),
        "batches in order, then shuffled": lambda d, join: join(d.batch(7)).shuffle(5),
        "keyed": lambda d, join: join(kd.keyed(d).shuffle(50).repeat(2).batch(7)),
        "keyed samples": lambda d, join: join(kd.keyed(d).shuffle(50)).batch(7),
        "a part": lambda d, join: join(d.take(10)).batch(7),
        "another part": lambda d, join: join(kd.keyed(d).skip(40)).batch(7),
        "parallel, in any order": lambda d, join: join(
            kd.keyed(d).shuffle(50).map(same, num_parallel_calls=4, deterministic=False).batch(7)
        ),
        "interleaved": lambda d, join: join(
            tf.data.Dataset.range(3).interleave(lambda i: kd.keyed(d).shard(3, i)).batch(7)
        ),
        "fixed batches": lambda d, join: join(d.batch(10, drop_remainder=True)),
    }


def same(keyed, label):
    return keyed._replace(x=keyed.x + 0), label


@pytest.mark.parametrize("pipeline", pipelines().values(), ids=pipelines())
def test_each_sample_gets_its_own_knowledge(pipeline, samples, tmp_path):
    teacher = toy.cnn("teacher", 6)
    cache = build(teacher, samples, tmp_path / "c", dtype="float32")
    seen = 0
    for element in pipeline(samples, cache.join):
        expected = teacher(element[0].x, training=False)
        np.testing.assert_allclose(logits(element), expected, rtol=1e-5, atol=1e-6)
        seen += len(expected)
    assert seen >= 10


def test_labels_and_weights_stay_with_their_samples(tmp_path):
    x, y = toy.data(SAMPLES)
    weighted = tf.data.Dataset.from_tensor_slices((x, y, np.arange(SAMPLES)))
    cache = build(toy.cnn("teacher", 6), weighted, tmp_path / "c")
    for lesson, label, number in cache.join(kd.keyed(weighted).shuffle(50).batch(9)):
        np.testing.assert_array_equal(lesson.x, x[number.numpy()])
        np.testing.assert_array_equal(label, y[number.numpy()])


def test_samples_have_keys_of_their_own_in_any_order(samples, tmp_path):
    x, y = toy.data(SAMPLES)
    names = np.array([f"train__{i * 7919}" for i in range(SAMPLES)])
    named = tf.data.Dataset.from_tensor_slices((kd.Keyed(x, names), y))
    teacher = toy.cnn("teacher", 6)
    cache = build(teacher, named.shuffle(50).batch(8), tmp_path / "c", dtype="float32")
    for element in cache.join(named.shuffle(50).batch(8)):
        expected = teacher(element[0].x, training=False)
        np.testing.assert_allclose(logits(element), expected, rtol=1e-5, atol=1e-6)


def test_a_data_set_without_labels(tmp_path):
    x, _ = toy.data(SAMPLES)
    alone = tf.data.Dataset.from_tensor_slices(x)
    cache = build(toy.cnn("teacher", 6), alone, tmp_path / "c")
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers)
    distiller.compile("sgd")
    history = distiller.fit(cache.join(kd.keyed(alone).batch(10)), verbose=0).history
    assert list(history) == ["loss", "soft_targets"]


def test_inputs_in_a_dict_and_strings_through_a_preprocessing(tmp_path):
    lengths = lambda x: {"a": ops.cast(tf.strings.length(x["text"])[:, None], "float32")}  # noqa: E731
    inputs = {"a": keras.Input((1,), name="a")}
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs["a"]))
    teacher = kd.Teacher(model, preprocessing=lengths, name="teacher")
    texts = np.array(["a" * i for i in range(20)])
    data = tf.data.Dataset.from_tensor_slices(({"text": texts}, np.arange(20)))
    cache = build(teacher, data, tmp_path / "c", dtype="float32")
    for element in cache.join(kd.keyed(data).shuffle(20).batch(5)):
        expected = model(lengths(element[0].x))
        np.testing.assert_allclose(logits(element), expected, rtol=1e-6)


# The same as a live teacher's.

SEVERAL = {
    "one": ({}, 1),
    "noise": ({"noise": lambda: kd.noise.LogitNoise(0.5, probability=0.5, seed=3)}, 1),
    "noise on a hint": ({"noise": lambda: kd.noise.LogitNoise(0.5, taps=["conv"], seed=3)}, 2),
    "cross-entropy": ({"weighting": kd.weighting.CrossEntropy}, 3),
    "entropy": ({"weighting": kd.weighting.Entropy}, 3),
    "screening": ({"weighting": lambda: kd.weighting.Screening(keep=2)}, 3),
    "blended": ({"combine": lambda: "probabilities", "weighting": kd.weighting.CrossEntropy}, 3),
    "fixed": ({"combine": lambda: "logits", "weighting": lambda: kd.weighting.Fixed([1, 3])}, 2),
}


def made(options):
    return {name: make() for name, make in options.items()}


@pytest.mark.parametrize("case", SEVERAL)
def test_knowledge_is_the_same_to_the_last_bit(case, tmp_path):
    options, count = SEVERAL[case]
    x, y = toy.data(64)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    endings = (None, "softmax", None)
    teachers = [toy.cnn(f"t{i}", 5 + i, activation=endings[i], seed=i) for i in range(count)]
    cache = build(teachers, batches, tmp_path / "c", taps=[None, "conv"], dtype="float32")
    assert_same_knowledge(teachers, cache, batches, options)


def test_class_maps_act_on_it_to_the_last_bit(tmp_path):
    batches = tf.data.Dataset.from_tensor_slices(toy.data(64)).batch(16)
    teachers = [
        kd.Teacher(toy.cnn("one", 5, classes=3), classes=[0, 2, 3]),
        kd.Teacher(toy.cnn("two", 6, classes=2), classes=[1, 3]),
    ]
    cache = build(teachers, batches, tmp_path / "c", taps=[None, "conv"], dtype="float32")
    assert [teacher.classes for teacher in cache.teachers] == [[0, 2, 3], [1, 3]]
    assert_same_knowledge(teachers, cache, batches, {})
    assert_same_knowledge(teachers, cache, batches, {"combine": lambda: "logits"})


def assert_same_knowledge(teachers, cache, batches, options):
    losses = lambda: [kd.losses.SoftTargets(), kd.losses.Hint("conv", "conv")]  # noqa: E731
    student = toy.cnn("student")
    live = kd.Distiller(student, teachers, losses(), **made(options))
    recorded = kd.Distiller(student, cache.teachers, losses(), **made(options))

    @tf.function
    def both(x, y, lesson):
        teacher_outputs = recorded._recalled(lesson.teacher_outputs, lesson.x)
        return tuple(
            tf.nest.flatten([list(k.outputs[0].values()), k.weights, list(k.combined.values())])
            for k in (
                live.objective.teach(x, y, replica_id()),
                recorded.objective.teach(x, y, replica_id(), teacher_outputs),
            )
        )

    for (x, y), (lesson, _) in zip(batches, cache.join(batches), strict=True):
        for one, other in zip(*both(x, y, lesson), strict=True):
            if one is not None:
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("live", [True, False], ids=["live teacher", "teacher of the cache"])
def test_the_student_gets_the_weights_of_live_training(live, samples, tmp_path):
    teacher = toy.cnn("teacher", 6, activation="softmax")
    cache = build(teacher, samples, tmp_path / "c", taps=[None, "features"], dtype="float32")
    shuffled = samples.shuffle(SAMPLES, seed=1).batch(20)
    joined = cache.join(kd.keyed(samples).shuffle(SAMPLES, seed=1).batch(20))
    weights = []
    for teachers, data in ((teacher, shuffled), (teacher if live else cache.teachers, joined)):
        losses = [kd.losses.SoftTargets(), kd.losses.Hint("features", "features")]
        distiller = kd.Distiller(toy.cnn("student"), teachers, losses)
        distiller.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
        distiller.fit(data, epochs=3, verbose=0)
        weights.append(distiller.student.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_class_weights_and_callbacks_work_on_joined_data(samples, tmp_path):
    cache = build(toy.cnn("teacher", 6), samples, tmp_path / "c")
    noise = kd.noise.LogitNoise(1.0, seed=0)
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers, noise=noise)
    distiller.compile("sgd", toy.sparse_loss(), metrics=["accuracy"], steps_per_execution=2)
    schedule = kd.callbacks.NoiseScheduler(lambda epoch, value: 0.5)
    data, weights = cache.join(samples.batch(20)), dict.fromkeys(range(4), 2.0)
    distiller.fit(data, epochs=2, callbacks=[schedule], class_weight=weights, verbose=0)
    assert float(noise.stddev) == 0.5


def a_class(teacher, **kwargs):
    small = lambda size: toy.cnn(f"s{size}", classes=size)  # noqa: E731
    students = kd.TeacherClass(teacher, "features", small, n=2, **kwargs)
    students.compile(keras.optimizers.SGD(0.1))
    return students


def test_a_class_of_students_gets_the_weights_of_live_training(samples, tmp_path):
    teacher = toy.cnn("teacher", 6)
    cache = build(teacher, samples, tmp_path / "c", taps=["features"], dtype="float32")
    live, cached = a_class(teacher), a_class(teacher)
    one = live.fit(samples.batch(20), epochs=2, verbose=0, validation_data=samples.batch(50))
    data = {size: cache.join(samples.batch(size)) for size in (20, 50)}
    other = cached.fit(data[20], epochs=2, verbose=0, validation_data=data[50])
    for name, values in one.history.items():
        np.testing.assert_allclose(values, other.history[name], rtol=1e-5)
    for a, b in zip(live.get_weights(), cached.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert [part.shape for part in cached.predict(data[50], verbose=0)] == [(100, 4), (100, 4)]


def test_a_class_runs_no_teacher_on_joined_data_and_says_what_it_cannot_learn(samples, tmp_path):
    inputs, counter = keras.Input((6, 6, 1)), Tally()
    teacher = keras.Model(inputs, toy.cnn("teacher", 6)(counter(inputs)))
    cache = build(teacher, samples, tmp_path / "c", taps=["teacher/features"])
    small = lambda size: toy.cnn(f"s{size}", classes=size)  # noqa: E731
    students = kd.TeacherClass(teacher, "teacher/features", small, n=2)
    students.compile("sgd")
    counter.count.assign(0)
    students.fit(cache.join(samples.batch(20)), verbose=0)
    assert int(counter.count) == 0
    with refused("mimic='output', or fit on data without a cache"):
        a_class(toy.cnn("t", 6), mimic="preactivation").fit(cache.join(samples.batch(20)))
    with refused("none of teacher 't'"):
        a_class(toy.cnn("t", 6)).fit(cache.join(samples.batch(20)))


# What does not fit is refused.


def refused(match):
    return pytest.raises((ValueError, TypeError), match=match)


def test_another_data_set_is_refused_before_the_first_step(samples, tmp_path):
    cache = build(toy.cnn("teacher", 6), samples, tmp_path / "c")
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers)
    distiller.compile("sgd", toy.sparse_loss())
    before = distiller.student.get_weights()
    other = tf.data.Dataset.from_tensor_slices(toy.data(SAMPLES, seed=1)).batch(10)
    with refused("the sample with the key 0 is not the one that the teachers saw"):
        distiller.fit(cache.join(other), verbose=0)
    shuffled = samples.shuffle(SAMPLES, seed=1).batch(10)
    with refused("is not the one that the teachers saw: it was shuffled, augmented"):
        distiller.fit(cache.join(shuffled), verbose=0)
    more = samples.concatenate(samples)
    with refused("it holds 100 samples. Received: a data set of 200"):
        cache.join(more)
    with refused("of the sample with the key 100 it holds nothing"):
        distiller.fit(cache.join(kd.keyed(more).skip(100).batch(10)), verbose=0)
    with refused(r"must be float32 \(6, 6, 1\).* Received: float32 \(6, 5, 1\)"):
        cache.join(samples.map(lambda x, y: (x[:, 1:], y)))
    for one, other in zip(before, distiller.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_augmented_samples_are_refused(samples, tmp_path):
    cache = build(toy.cnn("teacher", 6), samples, tmp_path / "c")
    flipped = kd.keyed(samples).map(lambda k, y: (k._replace(x=tf.reverse(k.x, [1])), y))
    with pytest.raises(tf.errors.InvalidArgumentError, match="built with `views` and `augment`"):
        list(cache.join(flipped.batch(10)))


def test_inputs_that_change_in_a_later_epoch_are_refused_too(samples, tmp_path):
    cache = build(toy.cnn("teacher", 6), samples, tmp_path / "c")
    added = tf.Variable(0.0)
    joined = cache.join(kd.keyed(samples).batch(5).map(lambda k, y: (plus(k, added), y)))
    list(joined)
    added.assign(1.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not the one that the teachers"):
        list(joined)


def plus(keyed, value):
    return keyed._replace(x=keyed.x + value)


def test_a_changed_teacher_is_refused_and_what_changed_is_named(samples, tmp_path):
    scaled = lambda factor: kd.Teacher(  # noqa: E731
        toy.cnn("teacher", 6), preprocessing=lambda x: x * factor
    )
    cache = build(scaled(2.0), samples, tmp_path / "c")
    joined = cache.join(samples.batch(10))

    def fit(teacher):
        distiller = kd.Distiller(toy.cnn("student"), teacher)
        distiller.compile("sgd", toy.sparse_loss())
        distiller.fit(joined, verbose=0)

    fit(scaled(2.0))
    with refused("teacher 'teacher' is not the one .* its preprocessing changed"):
        fit(scaled(3.0))
    trained = scaled(2.0)
    trained.model.get_layer("logits").bias.assign_add([0.0, 0.0, 0.0, 1e-6])
    with refused("its weights changed"):
        fit(trained)
    with refused("its weights and config changed"):
        fit(kd.Teacher(toy.cnn("teacher", 7), preprocessing=lambda x: x * 2.0))
    with refused(r"the knowledge of \['teacher'\] and none of teacher 'other'"):
        fit(toy.cnn("other", 6, seed=5))


def test_a_tap_that_was_not_stored_is_named(samples, tmp_path):
    teacher = toy.cnn("teacher", 6)
    cache = build(teacher, samples, tmp_path / "c")
    hint = kd.losses.Hint("features", "features")
    with refused("of teacher 'teacher' it holds the output, and not 'features'"):
        kd.Distiller(toy.cnn("student"), cache.teachers, hint)
    distiller = kd.Distiller(toy.cnn("student"), teacher, hint)
    distiller.compile("sgd", toy.sparse_loss())
    with refused("and not 'features'. Build it with `taps`"):
        distiller.fit(cache.join(samples.batch(10)), verbose=0)


def test_a_teacher_on_disk_needs_joined_data(samples, tmp_path):
    cache = build(toy.cnn("teacher", 6), samples, tmp_path / "c")
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers)
    distiller.compile("sgd", toy.sparse_loss())
    with refused("only on disk.*cache.join"):
        distiller.fit(samples.batch(10), verbose=0)
    with refused("those of a cache have no model"):
        build(cache.teachers, samples, tmp_path / "d")


def test_what_is_no_cache_is_said_to_be_none(samples, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no manifest.json. Write one"):
        kd.KnowledgeCache(tmp_path / "nothing")
    cache = build(toy.cnn("teacher", 6), samples, tmp_path / "c")
    with refused("expected a tf.data.Dataset"):
        cache.join(toy.data())
    with refused("repeats without end"):
        cache.join(samples.repeat())
    with refused("repeats without end"):
        build(toy.cnn("teacher", 6), samples.repeat(), tmp_path / "d")
    with refused("have keys already"):
        kd.keyed(kd.keyed(samples))


def test_bad_arguments_of_build(samples, tmp_path):
    teacher = toy.cnn("teacher", 6)
    for arguments, sentence in {
        ("taps", ("features", "features")): "each of `taps` may come once",
        ("taps", (3,)): "`taps` must be names",
        ("taps", ("feature",)): "Did you mean .*'features'",
        ("dtype", "int8"): "`dtype` must be one of",
        ("batch_size", 0): "`batch_size` must be at least 1",
    }.items():
        with refused(sentence):
            build(teacher, samples, tmp_path / "c", **dict([arguments]))
    with refused(r"takes batches of shape .*\(None, 6, 6, 1\).* Received: x of float32 \(5,\)"):
        build(teacher, tf.data.Dataset.from_tensor_slices(np.zeros((9, 5), "float32")), tmp_path)


def test_values_that_half_precision_does_not_hold_are_refused(samples, tmp_path):
    teacher = toy.cnn("teacher", 6)
    teacher.get_layer("logits").bias.assign([0.0, 0.0, 1e5, 0.0])
    with refused("teacher 'teacher' says 100000 at the output, too large for float16"):
        build(teacher, samples, tmp_path / "c")
    build(teacher, samples, tmp_path / "d", dtype="float32")
    teacher.get_layer("logits").bias.assign([0.0, 0.0, np.nan, 0.0])
    with refused("teacher 'teacher' gave NaN or infinite values at the output"):
        build(teacher, samples, tmp_path / "e")
