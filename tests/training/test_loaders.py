"""Data loaders of Grain and PyTorch."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.training.batches import as_batches, count_batches
from keras_kd.training.loaders import Loader
from tests import toy

X, Y = toy.vectors(20)


def grain_loader(kind, x=X, y=Y):
    grain = pytest.importorskip("grain")
    source = grain.MapDataset.source(list(zip(x, y, strict=True)))
    if kind == "DataLoader":
        sampler = grain.samplers.IndexSampler(len(x), grain.sharding.NoSharding(), num_epochs=1)
        return grain.DataLoader(
            data_source=list(zip(x, y, strict=True)),
            sampler=sampler,
            operations=[grain.transforms.Batch(8)],
        )
    batches = source.batch(8)
    return batches if kind == "MapDataset" else batches.to_iter_dataset()


def torch_loader(x=X, y=Y):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(data, 8)


LOADERS = {
    "MapDataset": lambda *xy: grain_loader("MapDataset", *xy),
    "IterDataset": lambda *xy: grain_loader("IterDataset", *xy),
    "DataLoader": lambda *xy: grain_loader("DataLoader", *xy),
    "torch": torch_loader,
    # Needs no package: what the others are turned into.
    "Loader": lambda x=X, y=Y: Loader([(x[i : i + 8], y[i : i + 8]) for i in range(0, 20, 8)], 3),
}


def distiller(teacher=None):
    model = kd.Distiller(toy.mlp("student"), teacher or toy.mlp("teacher", units=12, seed=1))
    # Compilation is not the subject.
    model.compile(
        keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"], run_eagerly=True
    )
    return model


@pytest.fixture(params=LOADERS)
def make(request):
    return LOADERS[request.param]


def test_batches_are_tuples_of_arrays_and_can_be_read_again(make):
    batches = as_batches(make(), "test", again=True)
    for _ in range(2):
        found = list(batches)
        assert [type(batch) for batch in found] == [tuple] * 3
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), X)
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), Y)
    assert count_batches(batches) in (3, None)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_training_on_a_loader_gives_the_weights_of_arrays(make):
    results = []
    for given in ({"x": X, "y": Y, "batch_size": 8}, {"x": make()}):
        model = distiller()
        model.fit(**given, epochs=2, shuffle=False, verbose=0)
        results.append((*model.get_weights(), *model.evaluate(**given, verbose=0)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_labels_out_of_range_are_rejected(make):
    with pytest.raises(ValueError, match="Labels out of range: the student's output 'head' has 4"):
        distiller().fit(make(X, Y + 1), verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_cache_is_built_from_and_joined_to_a_loader(make, tmp_path):
    teacher = toy.mlp("teacher", units=12, seed=1)
    cache = kd.KnowledgeCache.build(teacher, make(), tmp_path / "c", dtype="float32", verbose=0)
    assert len(cache) == 20
    weights = []
    for data, one in ((make(), teacher), (cache.join(make()), cache.teachers)):
        model = distiller(one)
        model.fit(data, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
