"""A preprocessing that differs on the samples of the data set only is found wherever it matters."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.cache.manifest import checksum
from keras_kd.cache.prepared import is_comparable, prepare_numbers
from keras_kd.teachers.knowledge import CacheError
from tests import toy
from tests.cache import caches

SAMPLES = 48
build = functools.partial(caches.build, dtype="float32")
MODEL = toy.mlp("teacher")


def teacher(preprocessing, **kwargs):
    return kd.Teacher(MODEL, preprocessing=preprocessing, **kwargs)


def numbers(function, x=None):
    x = np.arange(12, dtype="float32").reshape(4, 3) if x is None else x
    return prepare_numbers(teacher(lambda x: ops.convert_to_tensor(function(x))), x)


def clipped(limit):
    return lambda x: ops.clip(x, -limit, limit) / 1e5


@pytest.fixture(scope="module")
def vectors():
    """Vectors with one value beyond those of made-up samples, and labels."""
    x, y = toy.vectors(SAMPLES)
    x[SAMPLES - 1, 2] = 1e6
    return x, y


@pytest.fixture(scope="module")
def samples(vectors):
    return tf.data.Dataset.from_tensor_slices(vectors)


@pytest.fixture(scope="module")
def cache(samples, tmp_path_factory):
    return build(teacher(clipped(2e6)), samples, tmp_path_factory.mktemp("prepared") / "c")


def compiled(teachers, loss="sparse"):
    student = toy.mlp("student")
    distiller = kd.Distiller(student, teachers, kd.losses.SoftTargets(activation="softmax"))
    loss = toy.sparse_loss() if loss == "sparse" else loss
    distiller.compile("sgd", loss, run_eagerly=True)
    return distiller


def without_numbers(cache):
    """Remove what earlier versions of a cache did not have."""
    path = cache.path / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    file = manifest["content"]["teachers"][0].pop("prepared")
    for block in manifest["blocks"]:
        del block["checksums"][file]
    (cache.path / file).unlink()
    path.write_text(json.dumps({**manifest, "checksum": checksum(manifest)}))
    return kd.KnowledgeCache(cache.path)


# The numbers.


def test_the_numbers_of_floats_are_weighted_sums_and_their_rounding():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    found = numbers(lambda x: x * 2, x)
    weights = np.random.default_rng(0).uniform(-1, 1, 3)
    rows = 2.0 * x.astype("float64")
    np.testing.assert_allclose(found.values[:, 1], rows @ weights, rtol=1e-12)
    bound = 8 * 2.0**-23 * np.abs(rows) @ np.abs(weights)
    np.testing.assert_allclose(found.rounding, bound, rtol=1e-12)
    assert len(set(found.values[:, 0])) == 1  # Of the dtype and the rank only.


@pytest.mark.parametrize(
    ("function", "other", "differ"),
    [
        (lambda x: x, lambda x: x * 1.0, 0),
        (lambda x: x / 7, lambda x: x * (1 / 7), 0),  # Rounding.
        (lambda x: x, lambda x: ops.minimum(x, 10), 1),
        (lambda x: x, lambda x: ops.flip(x, axis=-1), 4),
        (lambda x: x, lambda x: ops.cast(x, "float16"), 4),
        (lambda x: x, lambda x: x[:, None], 4),
        (lambda x: x, lambda x: ops.pad(x, [[0, 0], [0, 2]]), 0),
        (lambda x: x, lambda x: ops.where(x == 4, np.nan, x), 1),
        (lambda x: x / 0, lambda x: -(x / 0), 4),
        (lambda x: ops.cast(x, "int32"), lambda x: ops.cast(x, "int32") // 11 * 11, 4),
        (lambda x: ops.cast(x, "uint8"), lambda x: ops.cast(ops.minimum(x, 10), "uint8"), 1),
        (lambda x: x > 10, lambda x: x >= 10, 1),
        (lambda x: ops.cast(x, "bfloat16"), lambda x: ops.cast(ops.minimum(x, 9), "bfloat16"), 1),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_other_values_have_other_numbers(function, other, differ):
    assert numbers(function).differ(numbers(other).values).sum() == differ


def test_texts_and_large_token_ids_are_exact():
    texts = np.array([["a", "b"], ["a", "c"]])
    changed = np.array([["a", "b"], ["a", "C"]])
    same = kd.Teacher(MODEL, preprocessing=lambda x: x)
    differ = prepare_numbers(same, texts).differ(prepare_numbers(same, changed).values)
    assert differ.tolist() == [False, True]
    ids = np.full((2, 512), 2**40)
    changed = ids.copy()
    changed[1, 511] += 1
    differ = prepare_numbers(same, ids).differ(prepare_numbers(same, changed).values)
    assert differ.tolist() == [False, True]


def test_numbers_with_a_part_per_batch_and_several_parts():
    by_name = kd.Teacher(
        toy.named("t", ("a", "b")),
        preprocessing=lambda x: {"b": x["a"], "a": x["b"], "c": ops.ones(())},
    )
    x = {"a": np.ones((3, 5), "float32"), "b": np.zeros((3, 5), "float32")}
    swapped = prepare_numbers(by_name, {"a": x["b"], "b": x["a"]})
    assert prepare_numbers(by_name, x).differ(swapped.values).all()


def test_what_depends_on_the_batch_is_not_comparable():
    x = np.arange(12.0).reshape(4, 3)
    assert is_comparable(teacher(lambda x: x - 1), x)
    assert not is_comparable(teacher(lambda x: x - ops.mean(x, axis=0)), x)


# Caches.


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sparse", None])
def test_fit_finds_another_preprocessing_in_shuffled_data(samples, cache, loss):
    joined = cache.join(kd.keyed(samples).shuffle(SAMPLES).batch(SAMPLES))
    same, other = teacher(clipped(2e6)), teacher(clipped(5e5))
    spec = keras.KerasTensor((None, 5))
    assert same.fingerprint(spec) == other.fingerprint(spec)  # On made-up samples.
    compiled(same, loss).fit(joined, validation_data=joined, verbose=0)
    with pytest.raises(CacheError, match="its preprocessing returns other values for 1 of the fir"):
        compiled(other, loss).fit(joined, verbose=0)
    with pytest.raises(CacheError, match="other values for 1 of the first 48 samples"):
        compiled(other, loss).fit(joined.take(0), validation_data=joined, verbose=0)
    compiled(cache.teachers, loss).fit(joined, verbose=0)


def test_arrays_evaluation_and_single_batches_are_compared(vectors, samples, cache):
    (x, y) = next(iter(cache.join(samples.batch(SAMPLES))))
    arrays = keras.tree.map_structure(np.asarray, x)
    for call in (
        lambda model: model.fit(arrays, y.numpy(), verbose=0),
        lambda model: model.evaluate(arrays, verbose=0),
        lambda model: model.train_on_batch(arrays),
        lambda model: model.test_on_batch(arrays),
    ):
        call(compiled(teacher(clipped(2e6)), None))
        with pytest.raises(CacheError, match="other values for 1 of the first 48"):
            call(compiled(teacher(clipped(5e5)), None))


def test_other_teachers_are_compared_as_soon_as_they_are_set(samples, cache):
    (x, _) = next(iter(cache.join(samples.batch(SAMPLES))))
    model = compiled(teacher(clipped(2e6)), None)
    model.train_on_batch(x)
    model.set_teachers(teacher(clipped(5e5)))
    with pytest.raises(CacheError, match="other values for 1 of the first 48"):
        model.train_on_batch(x)


def test_batches_of_a_generator_are_not_compared_and_reported(samples, cache):
    joined = list(cache.join(samples.batch(SAMPLES)))
    with pytest.warns(UserWarning, match="made-up samples only: the data are a generator"):
        compiled(teacher(clipped(5e5))).fit((one for one in joined), verbose=0)


@pytest.mark.slow
def test_a_table_of_ids_beyond_those_of_made_up_samples(tmp_path):
    ids = np.random.default_rng(0).integers(10**9, 10**9 + 5, (32, 5))

    def looked_up(last):
        def look_up(x):
            x = x - 10**9
            tf.debugging.assert_non_negative(x)
            tf.debugging.assert_less(x, tf.constant(5, x.dtype))
            return ops.take(ops.convert_to_tensor([0.0, 1.0, 2.0, 3.0, last]), x)

        return teacher(look_up)

    data = tf.data.Dataset.from_tensor_slices(ids).batch(16)
    build(looked_up(4.0), data, tmp_path / "c")
    build(looked_up(4.0), data, tmp_path / "c")
    with pytest.raises(CacheError, match=r"other values for \d+ of the first 16 .*another path"):
        build(looked_up(5.0), data, tmp_path / "c")


@pytest.mark.parametrize("form", ["batches", "views", "keys", "list"])
def test_a_second_build_compares_the_first_batch(form, vectors, samples, tmp_path):
    x, _ = vectors
    flip = {"views": 2, "augment": lambda x, seed: x * tf.cast(1 + seed[1], x.dtype)}
    options = flip if form == "views" else {}
    data = {
        "batches": samples.batch(SAMPLES),
        "views": samples,
        "keys": kd.keyed(samples).shuffle(SAMPLES, seed=1).batch(SAMPLES),
        "list": [(x[:24],), (x[24:],)][::-1],
    }[form]
    for _ in range(2):
        build(teacher(clipped(3e6)), data, tmp_path / "c", **options)
    with pytest.raises(CacheError, match="its preprocessing returns other values for [12] of the"):
        build(teacher(clipped(5e5)), data, tmp_path / "c", **options)


def test_an_interrupted_build_is_not_resumed_with_another_preprocessing(tmp_path):
    x = np.tile(np.linspace(-1e6, 1e6, 5, dtype="float32"), (10_000, 1))
    data = tf.data.Dataset.from_tensor_slices(x).batch(500)

    def stopping(limit, last):
        runs = []

        def step(value):
            runs.append(1)
            if len(runs) > last:
                raise RuntimeError("stopped")
            return value

        def preprocessing(x):
            checked = tf.ensure_shape(tf.numpy_function(step, [x], x.dtype), x.shape)
            return clipped(limit)(checked)

        return teacher(preprocessing)

    with pytest.raises((tf.errors.UnknownError, RuntimeError), match="stopped"):
        build(stopping(2e6, 40), data, tmp_path / "c")
    with pytest.raises(CacheError, match="other values for 500 of the first 500 samples"):
        build(stopping(5e5, 1000), data, tmp_path / "c")
    assert len(build(stopping(2e6, 1000), data, tmp_path / "c")) == 10_000


def test_shards_keep_the_numbers(samples, tmp_path):
    for i in range(2):
        build(teacher(clipped(2e6)), samples, tmp_path, shard=(i, 2))
    joined = kd.KnowledgeCache.merge(tmp_path).join(samples.batch(SAMPLES))
    compiled(teacher(clipped(2e6))).fit(joined, verbose=0)
    with pytest.raises(CacheError, match="other values for 1 of the first 48"):
        compiled(teacher(clipped(5e5))).fit(joined, verbose=0)


def test_a_cache_of_an_earlier_version_opens_and_says_what_is_not_compared(samples, tmp_path):
    cache = without_numbers(build(teacher(clipped(2e6)), samples, tmp_path / "c"))
    other, joined = teacher(clipped(5e5)), cache.join(samples.batch(SAMPLES))
    with pytest.warns(UserWarning, match="on made-up samples only: .* an earlier version"):
        compiled(other).fit(joined, verbose=0)
    with pytest.warns(UserWarning, match="on made-up samples only: .* an earlier version"):
        assert len(build(other, samples, tmp_path / "c")) == SAMPLES
    compiled(cache.teachers).fit(joined, verbose=0)


def test_a_preprocessing_that_depends_on_the_batch_is_reported(samples, tmp_path):
    centered = teacher(lambda x: x - ops.mean(x, axis=0))
    cache = build(centered, samples.batch(SAMPLES), tmp_path / "c")
    assert cache.manifest.schema.teachers[0].prepared is None
    with pytest.warns(UserWarning, match="what the preprocessing returns .* depends on its batch"):
        compiled(centered).fit(cache.join(samples.batch(SAMPLES)), verbose=0)


def test_teachers_by_output_are_compared_together(samples, vectors, tmp_path):
    inputs = keras.Input((5,))
    heads = {name: keras.layers.Dense(4, name=name)(inputs) for name in ("a", "b")}
    student = keras.Model(inputs, heads)

    def teachers(limit):
        return {"a": MODEL, "b": teacher(clipped(limit), outputs="logits")}

    cache = build(teachers(2e6), samples, tmp_path / "c", taps=["a", "b"])
    for limit in (2e6, 5e5):
        losses = [
            kd.losses.SoftTargets(student_tap=n, teacher_tap=n, activation="softmax") for n in "ab"
        ]
        distiller = kd.Distiller(student, teachers(limit), losses)
        distiller.compile("sgd", run_eagerly=True)
        joined = cache.join(samples.batch(SAMPLES))
        if limit == 2e6:
            distiller.fit(joined, verbose=0)
        else:
            with pytest.raises(CacheError, match="other values for 1 of the first 48"):
                distiller.fit(joined, verbose=0)
