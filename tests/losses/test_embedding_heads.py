import numpy as np

from keras_kd.losses import ContrastiveRepresentation


def _heads(loss, batch):
    heads = loss.make_projector((None, 7), (None, 4))
    heads.build((None, 4))
    rng = np.random.default_rng(0)
    teacher, student = (rng.normal(size=(batch, n)).astype("float32") for n in (7, 4))
    return heads, teacher, student


def test_the_bank_stores_the_last_embeddings_as_negatives():
    loss = ContrastiveRepresentation(embedding=3, bank_size=6)
    heads, teacher, student = _heads(loss, 8)
    first = np.asarray(loss.compare(heads, teacher[:4], student[:4]))
    assert list(heads.classes.numpy()) == [-1] * 4 + [-2] * 2
    loss.compare(heads, teacher[4:], student[4:], np.arange(4))
    assert list(heads.classes.numpy()) == [0, 1, 2, 3, -1, -1]
    embedded = heads((teacher, student))[0].numpy()
    order = [4, 5, 6, 7, 0, 1]
    np.testing.assert_allclose(heads.teacher_bank.numpy(), embedded[order], rtol=1e-6)
    again = np.asarray(loss.compare(heads, teacher[:4], student[:4]))
    assert (again > first).all()


def test_without_a_bank_only_the_batch_is_compared():
    loss = ContrastiveRepresentation(embedding=3, bank_size=0)
    heads, teacher, student = _heads(loss, 4)
    values = np.asarray(loss.compare(heads, teacher, student))
    embedded = heads((teacher, student))
    np.testing.assert_allclose(values, np.asarray(loss(*embedded)), rtol=1e-6)
