import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses import ContrastiveRepresentation
from tests import toy
from tests.golden_numbers import value_and_gradient


def _embeddings(batch=6, size=5, seed=0):
    x = np.random.default_rng(seed).normal(size=(2, batch, size))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _expected(teacher, student, negative, temperature=0.07):
    """The paper's critic, pair by pair."""
    total = np.zeros(len(teacher))
    for scores in (student @ teacher.T / temperature, teacher @ student.T / temperature):
        own = np.diag(scores)
        mean = np.exp(np.concatenate([own, scores[negative]])).mean()
        for i in range(len(teacher)):
            noise = negative[i].sum() * mean
            total[i] -= np.log(np.exp(own[i]) / (np.exp(own[i]) + noise))
            total[i] -= np.log(noise / (np.exp(scores[i][negative[i]]) + noise)).sum()
    return total


def test_it_equals_the_papers_critic_with_the_batch_as_negatives():
    teacher, student = _embeddings()
    values, _ = value_and_gradient(ContrastiveRepresentation(), teacher, student)
    np.testing.assert_allclose(values, _expected(teacher, student, ~np.eye(6, dtype=bool)))


def test_samples_of_the_same_class_are_not_negatives():
    teacher, student = _embeddings()
    labels = np.array([0, 0, 1, 2, -1, -1])
    negative = (labels[:, None] != labels) | (labels[:, None] == -1)
    np.fill_diagonal(negative, False)
    for form in (labels, labels[:, None]):
        values, _ = value_and_gradient(ContrastiveRepresentation(), teacher, student, form)
        np.testing.assert_allclose(values, _expected(teacher, student, negative))


@pytest.mark.parametrize(
    ("loss", "labels", "same"),
    [
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), [0.0, 0, 1, -1], True),
        (
            keras.losses.BinaryCrossentropy(from_logits=True),
            [[1.0, 0], [1, 0], [0, 1], [0, 0]],
            False,
        ),
        ("mse", [[1.0, 0.0], [1.0, 0.5], [0.0, 1.0], [np.nan, 2.0]], False),
    ],
    ids=["classes", "labels", "values"],
)
def test_only_classes_make_negatives(loss, labels, same):
    """Of several labels or targets, the largest is no class."""
    x, labels = toy.vectors(4)[0], np.asarray(labels, "float32")
    contrast = ContrastiveRepresentation("hidden", "hidden", embedding=3, bank_size=0)
    student = toy.mlp("student", classes=2)
    distiller = kd.Distiller(student, toy.mlp("t", classes=2, seed=1), contrast)
    distiller.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    (heads,) = distiller.projectors.values()
    taps = [
        keras.Model(m.inputs, m.get_layer("hidden").output)(x)
        for m in (distiller.teachers[0].model, student)
    ]
    embedded = [
        part / np.linalg.norm(part, axis=-1, keepdims=True)
        for part in map(np.asarray, heads(tuple(taps)))
    ]
    negative = ~np.eye(4, dtype=bool)
    negative[[0, 1], [1, 0]] = not same
    found = distiller.fit(x, labels, verbose=0).history["contrastive_representation"][0]
    np.testing.assert_allclose(found, _expected(*embedded, negative).mean(), rtol=1e-4)


def test_a_batch_of_one_class_has_loss_zero():
    teacher, student = _embeddings()
    values, gradient = value_and_gradient(
        ContrastiveRepresentation(), teacher, student, np.zeros(6, int)
    )
    np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_following_its_gradient_aligns_the_student_with_the_teacher():
    teacher, student = _embeddings(8, 16)
    loss = ContrastiveRepresentation(temperature=0.5)
    before = np.sum(teacher * student, -1).mean()
    for _ in range(10):
        student = student - 20 * value_and_gradient(loss, teacher, student)[1]
    student = student / np.linalg.norm(student, axis=-1, keepdims=True)
    assert np.sum(teacher * student, -1).mean() > before + 0.3


@pytest.mark.slow
def test_the_heads_are_trained_and_each_teacher_has_its_own():
    teachers = [toy.cnn("one", filters=3, seed=1), toy.cnn("two", filters=5, seed=2)]
    loss = ContrastiveRepresentation("pool", "pool", embedding=8, bank_size=16)
    model = kd.Distiller(toy.cnn("student"), teachers, loss)
    model.compile(keras.optimizers.Adam(0.01), toy.sparse_loss(), run_eagerly=True)
    heads = list(model.projectors.values())
    before = [[w.numpy() for w in head.trainable_variables] for head in heads]
    model.fit(*toy.data(16), batch_size=8, verbose=0)
    assert len(heads) == 2
    for head, weights in zip(heads, before, strict=True):
        assert all(
            (w.numpy() != old).any()
            for w, old in zip(head.trainable_variables, weights, strict=True)
        )
        assert (head.classes.numpy() >= 0).all()


def test_taps_of_unknown_size_are_rejected():
    with pytest.raises(ValueError, match="must be of known size.*Choose a layer after pooling"):
        ContrastiveRepresentation().make_projector((None, None, 3), (None, 4))


@pytest.mark.parametrize("arguments", [{"embedding": 0}, {"bank_size": -1}])
def test_sizes_out_of_range_are_rejected(arguments):
    with pytest.raises(ValueError, match="`embedding` must be at least 1"):
        ContrastiveRepresentation(**arguments)
