import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses.distillation_loss import mean_per_sample, shapes_agree, snake_case
from tests import toy


class MeanAbsolute(kd.losses.DistillationLoss):
    def call(self, teacher, student, labels=None):
        return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)


def test_a_custom_loss_needs_only_call():
    loss = MeanAbsolute(weight=0.5)
    assert (loss.name, float(loss.weight)) == ("mean_absolute", 0.5)
    teacher, student = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[2.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(loss(teacher, student), [1.5, 0])
    with pytest.raises(NotImplementedError, match="does not define `call`"):
        kd.losses.DistillationLoss().call(None, None)


def test_float64_is_kept_and_half_precision_is_not():
    for given, expected in (("float64", "float64"), ("float16", "float32"), ("int32", "float32")):
        values = MeanAbsolute()(np.ones((2, 3), given), np.zeros((2, 3), given))
        assert keras.backend.standardize_dtype(values.dtype) == expected


def test_masked_steps_are_rejected_unless_the_loss_takes_a_mask():
    student = keras.ops.ones((1, 2, 3))
    student._keras_mask = keras.ops.ones((1, 2), "bool")
    with pytest.raises(ValueError, match="MeanAbsolute cannot skip the masked steps"):
        MeanAbsolute()(np.ones((1, 2, 3)), student)
    student._keras_mask = keras.ops.convert_to_tensor([[True, False]])
    teacher = np.array([[[1.0, 1, 1], [9, 9, 9]]])
    np.testing.assert_array_equal(kd.losses.LogitsMSE()(teacher, student), [0.0])


@pytest.mark.parametrize("name", ["decoupled_kd", "normalized_kd"])
def test_missing_labels_are_rejected(name):
    logits = np.ones((2, 3), "float32")
    with pytest.raises(ValueError, match="needs labels: pass `y` to `fit`"):
        kd.losses.get(name)(logits, logits)


def test_missing_labels_are_rejected_before_training():
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), "decoupled_kd")
    model.compile("sgd", loss=None)
    with pytest.raises(ValueError, match="needs labels: pass `y` to `fit`"):
        model.fit(np.ones((4, 5), "float32"), verbose=0)


@pytest.mark.parametrize("name", ["decoupled_kd", "normalized_kd", "dist", "logit_standardization"])
def test_a_loss_on_classes_rejects_binary_outputs(name):
    loss = kd.losses.get(name)
    loss.check_head("softmax", (None, 3))
    loss.check_head(None, (None, 2))
    for activation, units in ((None, 1), ("sigmoid", 3)):
        with pytest.raises(ValueError, match="mutually exclusive classes.*support binary outputs"):
            loss.check_head(activation, (None, units))


def test_shapes_that_differ_are_rejected_with_the_names_of_the_taps():
    loss = MeanAbsolute(teacher_tap="block")
    assert loss.make_projector((None, 3), (8, 3)) is None
    message = r"teacher tap 'block' has shape \(None, 3\) and student output \(None, 4\)"
    with pytest.raises(ValueError, match=message):
        loss.make_projector((None, 3), (None, 4))
    assert shapes_agree((8, None, 3), (None, 5, 3))
    assert not shapes_agree((None, 3), (None, 3, 3))


def test_the_mean_of_a_sample_skips_masked_steps():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]], "float32")
    mask = np.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(
        mean_per_sample(keras.ops.convert_to_tensor(values), mask), [2, 0]
    )
    features = np.arange(12.0).reshape(2, 3, 2)
    expected = [features[0, [0, 2]].mean(), 0]
    np.testing.assert_allclose(
        mean_per_sample(keras.ops.convert_to_tensor(features), mask), expected
    )
    np.testing.assert_allclose(mean_per_sample(features), features.reshape(2, -1).mean(1))
    np.testing.assert_array_equal(mean_per_sample(np.ones(2), mask), np.ones(2))


def test_default_names_are_in_snake_case():
    names = ("SoftTargets", "LogitsMSE", "DIST", "DecoupledKD")
    assert [snake_case(n) for n in names] == ["soft_targets", "logits_mse", "dist", "decoupled_kd"]


def test_a_negative_weight_is_rejected():
    with pytest.raises(ValueError, match="`weight` must be a finite number"):
        MeanAbsolute(weight=-1)
