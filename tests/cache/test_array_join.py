"""Teacher outputs joined to arrays and to a `PyDataset`."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache.array_join import join_arrays
from keras_kd.teachers.knowledge import joined_spec
from tests import toy
from tests.cache.caches import SAMPLES, build, first_outputs, read_joined


@pytest.fixture(scope="module")
def arrays():
    return toy.data(SAMPLES)


@pytest.mark.parametrize("form", ["arrays", "PyDataset", "list"])
def test_the_outputs_are_those_of_a_joined_data_set(cache, samples, arrays, form):
    x, outputs = read_joined(cache.join(samples.batch(20)))
    given = {
        "arrays": arrays,
        "PyDataset": toy.Batches(arrays, 20),
        "list": [tuple(part[i : i + 30] for part in arrays) for i in range(0, SAMPLES, 30)],
    }
    joined = join_arrays(cache._reader, given[form])
    if form == "arrays":
        assert type(joined) is tuple
        found = joined[0].x, first_outputs(joined)
        np.testing.assert_array_equal(joined[1], arrays[1])
    else:
        found = read_joined(joined)
    np.testing.assert_array_equal(found[0], x)
    np.testing.assert_array_equal(found[1], outputs)
    spec = joined_spec(joined if form != "arrays" else joined[0])
    assert tuple(spec.x.shape[1:]) == arrays[0].shape[1:]


def test_keys_find_shuffled_samples_and_x_alone_is_joined(cache, arrays):
    order = np.random.default_rng(0).permutation(SAMPLES)[:7]
    plain = join_arrays(cache._reader, arrays[0])
    (taps,) = plain.teacher_outputs.values()
    keyed = join_arrays(cache._reader, kd.Keyed(arrays[0][order], order))
    (shuffled,) = keyed.teacher_outputs.values()
    for name, values in taps.items():
        np.testing.assert_array_equal(shuffled[name], values[order])


@pytest.mark.parametrize("top_k", [None, 2])
def test_logits_are_restored_as_in_a_data_set(mlp, tmp_path, top_k):
    x, _ = toy.vectors(12)
    cache = build(mlp, x, tmp_path / "c", top_k=top_k)
    data = tf.data.Dataset.from_tensors(x)
    _, expected = read_joined(cache.join(data.map(lambda x: (x,))))
    (taps,) = join_arrays(cache._reader, x).teacher_outputs.values()
    np.testing.assert_allclose(next(iter(taps.values())), expected, rtol=2e-3 if top_k else 0)


def test_other_samples_are_rejected(cache, arrays):
    x, y = arrays
    with pytest.raises(ValueError, match="key 0 differs from the one that the teachers received"):
        join_arrays(cache._reader, (x[::-1].copy(), y))
    with pytest.raises(ValueError, match=f"the key {SAMPLES} is not among"):
        join_arrays(cache._reader, (np.concatenate([x, x[:1]]), np.zeros(SAMPLES + 1)))
    with pytest.raises(ValueError, match="must hold the inputs that the cache was built with"):
        join_arrays(cache._reader, (x[..., 0], y))
    joined = join_arrays(cache._reader, toy.Batches((x[::-1].copy(), y), 20))
    with pytest.raises(IndexError):
        joined[5]
    with pytest.raises(ValueError, match="differs from the one"):
        joined[1]
