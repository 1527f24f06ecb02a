"""Each joined sample gets its own teacher outputs, or an error."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.teachers.knowledge import CacheError
from tests import toy
from tests.cache.caches import SAMPLES, build, first_outputs, read_joined


def same(keyed, label):
    return keyed._replace(x=keyed.x + 0), label


PIPELINES = {
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


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)
def test_each_sample_gets_its_own_outputs(pipeline, samples, cnn, cache):
    x, outputs = read_joined(pipeline(samples, cache.join))
    assert len(x) >= 10
    np.testing.assert_allclose(outputs, cnn(x, training=False), rtol=1e-5, atol=1e-6)


def test_the_number_of_samples_stays_known(samples, cache):
    assert int(cache.join(samples).cardinality()) == SAMPLES
    assert int(cache.join(samples.batch(10)).cardinality()) == 10
    assert int(cache.join(kd.keyed(samples).filter(lambda *_: True)).cardinality()) < 0


def test_labels_and_weights_stay_with_their_samples(cnn, tmp_path):
    x, y = toy.data(SAMPLES)
    weighted = tf.data.Dataset.from_tensor_slices((x, y, np.arange(SAMPLES)))
    cache = build(cnn, weighted, tmp_path / "c")
    for joined, label, number in cache.join(kd.keyed(weighted).shuffle(50).batch(9)):
        np.testing.assert_array_equal(joined.x, x[number.numpy()])
        np.testing.assert_array_equal(label, y[number.numpy()])


def test_samples_with_keys_of_their_own_come_in_any_order(cnn, tmp_path):
    x, y = toy.data(SAMPLES)
    names = np.array([f"train__{i * 7919}" for i in range(SAMPLES)])
    named = tf.data.Dataset.from_tensor_slices((kd.Keyed(x, names), y)).shuffle(50).batch(8)
    cache = build(cnn, named, tmp_path / "c", dtype="float32")
    x, outputs = read_joined(cache.join(named))
    np.testing.assert_allclose(outputs, cnn(x, training=False), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
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
        np.testing.assert_allclose(first_outputs(element), expected, rtol=1e-6)


def test_float16_values_have_the_dtype_of_the_teacher(samples, cnn, tmp_path):
    cache = build(cnn, samples, tmp_path / "c")
    stored = np.load(tmp_path / "c" / "0.teacher.output.npy")
    assert stored.dtype == np.float16  # The default.
    _, joined = read_joined(cache.join(samples.batch(SAMPLES)))
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, stored.astype("float32"))


def test_joined_data_are_autotuned_only_if_the_user_wants_it(samples, cache):
    """Otherwise the end of an epoch waits for the thread of the autotuning."""
    options = tf.data.Options()
    options.autotune.enabled = True
    for data in (samples, samples.batch(10)):
        assert cache.join(data).options().autotune.enabled is False
        assert cache.join(data.with_options(options)).options().autotune.enabled is True


# Errors.


def test_data_sets_that_do_not_match_are_errors(samples, cache):
    more = samples.concatenate(samples)
    with pytest.raises(TypeError, match="KnowledgeCache.join: the data must be"):
        cache.join(None)
    with pytest.raises(ValueError, match="repeats indefinitely"):
        cache.join(samples.repeat())
    with pytest.raises(ValueError, match="it has 100 samples. Received: a data set of 200"):
        cache.join(more)
    with pytest.raises(ValueError, match=r"be float32 \(6, 6, 1\).* Received: float32 \(6, 5, 1\)"):
        cache.join(samples.map(lambda x, y: (x[:, 1:], y)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="key 100 is not among its 100 sample"):
        list(cache.join(kd.keyed(more).skip(100).batch(10)))


CHANGES = {
    "another data set": lambda d: tf.data.Dataset.from_tensor_slices(toy.data(SAMPLES, seed=1)),
    "shuffled": lambda d: d.shuffle(SAMPLES, seed=1),
    "augmented": lambda d: kd.keyed(d).map(lambda k, y: (k._replace(x=-k.x), y)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_inputs_are_errors(change, samples, cache):
    with pytest.raises(tf.errors.InvalidArgumentError, match="differs from the one .* shuffled"):
        list(cache.join(change(samples).batch(10)))


def test_inputs_that_change_in_a_later_epoch_are_errors(samples, cache):
    added = tf.Variable(0.0)

    def add(keyed, label):
        return keyed._replace(x=keyed.x + added), label

    joined = cache.join(kd.keyed(samples).batch(5).map(add))
    list(joined)
    added.assign(1.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="differs from the one that the teach"):
        list(joined)


def test_fit_raises_a_readable_error_before_the_first_step(samples, cache):
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers)
    distiller.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    before = distiller.student.get_weights()
    with pytest.raises(ValueError, match="^KnowledgeCache '.*': the input of the sample with key"):
        distiller.fit(cache.join(samples.shuffle(SAMPLES, seed=1).batch(10)), verbose=0)
    for one, other in zip(before, distiller.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_dict_inputs_may_have_more_keys_than_those_of_the_build(tmp_path):
    x, y = toy.pairs(20)
    teacher = toy.named("teacher")
    image = tf.data.Dataset.from_tensor_slices(({"image": x["image"]}, y))
    cache = build(teacher, image, tmp_path / "c", dtype="float32")
    joined = cache.join(tf.data.Dataset.from_tensor_slices((x, y)).batch(7))
    elements = list(joined)
    assert set(elements[0][0].x) == {"audio", "image"}
    logits = np.concatenate([first_outputs(element) for element in elements])
    np.testing.assert_allclose(logits, teacher({"image": x["image"]}), atol=1e-6)
    other = {"audio": x["audio"], "image": x["image"] + 1}
    with pytest.raises(tf.errors.OpError, match="input"):
        list(cache.join(tf.data.Dataset.from_tensor_slices((other, y)).batch(7)))
    audio = tf.data.Dataset.from_tensor_slices(({"audio": x["audio"]}, y))
    with pytest.raises(CacheError, match=r"built with the inputs \['image'\].* \['audio'\]"):
        cache.join(audio)


def test_a_cache_without_names_matches_inputs_in_order(tmp_path):
    x, y = toy.pairs(20)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    cache = build(toy.named("teacher", ("audio", "image")), data, tmp_path / "c")
    schema = replace(cache.manifest.schema, input_names=None)
    replace(cache.manifest, schema=schema).write(cache.path)
    assert len(list(kd.KnowledgeCache(cache.path).join(data.batch(10)))) == 2
    again = build(toy.named("teacher", ("audio", "image")), data, tmp_path / "c")
    assert again.manifest.schema.input_names is None


def test_arrays_are_single_samples_and_lists_hold_batches(tmp_path):
    x, y = toy.vectors(20)
    teacher = toy.mlp("teacher")
    cache = build(teacher, (x, y), tmp_path / "c", dtype="float32")
    assert len(cache) == 20
    lists = [(x[:12], y[:12]), (x[12:], y[12:])]
    assert len(build(teacher, lists, tmp_path / "d", dtype="float32")) == 20
    right = np.array(teacher(x))
    for joined in (
        cache.join((x, y)).batch(20),
        cache.join(lists),
        cache.join(kd.keyed((x, y)).batch(20)),
    ):
        inputs, values = read_joined(joined)
        np.testing.assert_array_equal(inputs, x)
        np.testing.assert_allclose(values, right, atol=1e-6)


def test_a_live_teacher_that_preprocesses_finds_its_outputs_among_more_keys(tmp_path):
    x, y = toy.pairs(20)
    teacher = kd.Teacher(toy.named("teacher"), preprocessing=lambda inputs: inputs)
    image = tf.data.Dataset.from_tensor_slices(({"image": x["image"]}, y))
    cache = build(teacher, image, tmp_path / "c", dtype="float32")
    joined = cache.join(tf.data.Dataset.from_tensor_slices((x, y)).batch(20))
    model = kd.Distiller(toy.named("student", seed=1), teacher)
    model.compile(keras.optimizers.SGD(0.0))
    live = kd.Distiller(model.student, teacher)
    live.compile(keras.optimizers.SGD(0.0))
    found = model.fit(joined, verbose=0).history
    right = live.fit(x, batch_size=20, verbose=0).history
    np.testing.assert_allclose(found["loss"], right["loss"], rtol=1e-5)
