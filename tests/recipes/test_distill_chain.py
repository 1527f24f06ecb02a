"""Teaching assistants."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import toy


def test_a_chain_is_one_fit_after_the_other():
    x, y = toy.data()
    settings = {"batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False}

    def models():
        return [toy.cnn(name, n, seed=n) for name, n in (("t", 8), ("a", 5), ("s", 3))]

    chain = kd.distill_chain(models(), x, y, loss=toy.sparse_loss(), optimizer="sgd", **settings)
    teacher, assistant, student = models()
    for source, pupil in ((teacher, assistant), (assistant, student)):
        model = kd.Distiller(pupil, source)
        model.compile("sgd", toy.sparse_loss())
        model.fit(x, y, **settings)
    assert list(chain.histories) == ["a", "s"]
    assert len(chain.histories["s"].history["loss"]) == 2
    for one, other in zip(chain.student.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_fit_gets_a_fresh_optimizer():
    x, _ = toy.data()
    optimizer = keras.optimizers.Adam(0.01)
    kd.distill_chain([toy.cnn(n) for n in "tas"], x, optimizer=optimizer, verbose=0)
    assert int(optimizer.iterations) == 0


def test_a_chain_needs_two_models():
    x, y = toy.data()
    with pytest.raises(ValueError, match="pass a teacher, perhaps assistants, and a student"):
        kd.distill_chain([toy.cnn("t")], x, y)
