"""What needs TensorFlow beside the backend, and is no export."""

import importlib.util

import keras
import numpy as np
import pytest

from tests import toy

if keras.config.backend() == "tensorflow":
    pytest.skip("the tests of each module are for TensorFlow", allow_module_level=True)
if importlib.util.find_spec("tensorflow") is None:
    pytest.skip("TensorFlow is not installed", allow_module_level=True)

import tensorflow as tf

import keras_kd as kd


def data_set():
    return tf.data.Dataset.from_tensor_slices(toy.vectors()).batch(8)


@pytest.mark.parametrize("data", [data_set, toy.vectors], ids=["tf.data", "arrays"])
def test_pseudo_labels_are_those_of_the_teacher(data):
    teacher = toy.mlp("teacher", activation="softmax")
    found = kd.pseudo_label(teacher, data(), threshold=0.3)
    x = toy.vectors()[0]
    probabilities = teacher.predict(x, verbose=0)
    kept = probabilities.max(-1) >= 0.3
    labels = np.concatenate([y for _, y in found.dataset.as_numpy_iterator()])
    np.testing.assert_array_equal(labels, probabilities.argmax(-1)[kept])


def test_a_mixture_of_labeled_and_unlabeled_samples_trains_a_distiller():
    mixed = kd.mix_unlabeled(data_set(), data_set(), ratio=1.0)
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", units=12, seed=1))
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    assert np.isfinite(model.fit(mixed, verbose=0).history["loss"]).all()


def test_a_data_set_of_tf_data_is_cached_with_keys_and_joined_in_another_order(tmp_path):
    samples = kd.keyed(data_set().unbatch())
    teacher = toy.mlp("teacher", units=12, seed=1)
    cache = kd.KnowledgeCache.build(teacher, samples.batch(8), tmp_path / "c", verbose=0)
    joined = cache.join(samples.shuffle(32, seed=0).batch(8))
    model = kd.Distiller(toy.mlp("student"), cache.teachers)
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    assert np.isfinite(model.fit(joined, verbose=0).history["loss"]).all()
