"""A knowledge cache that is built and joined where the backend is not TensorFlow."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import toy

pytestmark = pytest.mark.skipif(
    keras.config.backend() == "tensorflow", reason="tests/cache is for TensorFlow"
)


def teacher():
    return toy.mlp("teacher", units=6, seed=1)


def losses():
    return [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")]


@pytest.mark.parametrize("form", ["arrays", "PyDataset"])
@pytest.mark.parametrize("cached", [True, False], ids=["without a model", "with the model"])
def test_training_on_a_cache_gives_the_weights_of_the_live_teacher(tmp_path, form, cached):
    x, y = toy.vectors()
    data = (x, y) if form == "arrays" else toy.Batches((x, y), 8)
    cache = kd.KnowledgeCache.build(
        teacher(), data, tmp_path / "c", [None, "hidden"], dtype="float32", verbose=0
    )
    assert len(cache) == 32
    weights = []
    for live in (True, False):
        teachers = cache.teachers if cached and not live else teacher()
        model = kd.Distiller(toy.mlp("student"), teachers, losses())
        for projector in model.projectors.values():
            for i, weight in enumerate(projector.weights):
                weight.assign(np.random.default_rng(i).normal(size=weight.shape))
        model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
        joined = data if live else cache.join(data)
        given = {"x": joined}
        if form == "arrays":
            given = {"x": joined[0], "y": joined[1], "batch_size": 8}
        model.fit(**given, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_another_teacher_and_data_without_outputs_are_rejected(tmp_path):
    x, y = toy.vectors()
    cache = kd.KnowledgeCache.build(teacher(), (x, y), tmp_path / "c", verbose=0)
    other = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", units=6, seed=2))
    alone = kd.Distiller(toy.mlp("student"), cache.teachers)
    for model in (other, alone):
        model.compile("sgd", toy.sparse_loss())
    with pytest.raises(ValueError, match="is not the one that the cache was built with: its weig"):
        other.fit(*cache.join((x, y)), verbose=0)
    with pytest.raises(ValueError, match="only in a cache"):
        alone.fit(x, y, verbose=0)


def test_a_build_is_resumed_and_other_data_are_rejected(tmp_path):
    x, y = toy.vectors()
    build = kd.KnowledgeCache.build
    first = build(teacher(), (x, y), tmp_path / "c", verbose=0)
    assert len(build(teacher(), (x, y), tmp_path / "c", verbose=0)) == len(first) == 32
    with pytest.raises(ValueError, match="differs from the one that the teachers received"):
        build(teacher(), (x + 1, y), tmp_path / "c", verbose=0)


@pytest.mark.parametrize("arguments", [{"views": 2, "augment": len}, {"shard": (0, 2)}])
def test_what_needs_tf_data_is_rejected(tmp_path, arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"`{name}` is computed by tf.data.* needs the TensorFlow"):
        kd.KnowledgeCache.build(teacher(), toy.vectors(), tmp_path / "c", verbose=0, **arguments)


def test_a_class_of_students_learns_from_a_cache(tmp_path):
    x, _ = toy.vectors()
    cache = kd.KnowledgeCache.build(
        teacher(), x, tmp_path / "c", ["hidden"], dtype="float32", verbose=0
    )
    weights = []
    for source, data in ((teacher(), x), (cache.teachers[0], cache.join(x))):
        students = [toy.mlp(f"student_{i}", classes=3, seed=i) for i in range(2)]
        model = kd.TeacherClass(source, "hidden", students, mimic="output")
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(data, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
