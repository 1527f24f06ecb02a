import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import toy


@pytest.mark.slow
def test_each_model_is_distilled_from_the_previous_one():
    x, y = toy.vectors(16)
    settings = {"batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False}

    def models():
        return [toy.mlp(name, units=n, seed=n) for name, n in (("t", 8), ("a", 5), ("s", 3))]

    chain = kd.distill_chain(models(), x, y, loss=toy.sparse_loss(), optimizer="sgd", **settings)
    teacher, assistant, student = models()
    for source, target in ((teacher, assistant), (assistant, student)):
        model = kd.Distiller(target, source)
        model.compile("sgd", toy.sparse_loss())
        model.fit(x, y, **settings)
    assert list(chain.histories) == ["a", "s"]
    assert len(chain.histories["s"].history["loss"]) == 2
    for one, other in zip(chain.student.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("eager")
def test_each_fit_gets_a_fresh_optimizer():
    x, _ = toy.vectors(8)
    optimizer = keras.optimizers.Adam(0.01)
    kd.distill_chain([toy.mlp(n) for n in "ts"], x, optimizer=optimizer, verbose=0)
    assert int(optimizer.iterations) == 0


def test_a_chain_needs_two_models_with_unique_names():
    for models in ([toy.mlp("t")], [toy.mlp("t"), toy.mlp("t")]):
        with pytest.raises(ValueError, match="a teacher, optional assistants and a student"):
            kd.distill_chain(models, *toy.vectors(8))
