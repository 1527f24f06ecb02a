import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses.distillation_loss import shapes_agree, snake_case
from keras_kd.losses.reduction import mean_over_samples
from keras_kd.models.keras_compat import set_mask
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


class PerSample(kd.losses.DistillationLoss):
    def call(self, teacher, student, labels=None):
        return keras.ops.mean(keras.ops.square(teacher - student), axis=(1, 2))


def masked(shape, mask):
    tensor = keras.ops.ones(shape)
    tensor._keras_mask = keras.ops.convert_to_tensor(mask)
    return tensor


def test_values_per_step_have_the_mask_of_the_student():
    student = masked((1, 2, 3), [[True, False]])
    values = MeanAbsolute()(np.array([[[1.0, 1, 1], [9, 9, 9]]]), student)
    np.testing.assert_array_equal(values, [[0, 8]])
    np.testing.assert_array_equal(values._keras_mask, [[True, False]])


@pytest.mark.parametrize("loss", [PerSample(), kd.losses.RelationalKD(), kd.losses.DIST()])
def test_masked_steps_are_rejected_by_a_loss_with_one_value_per_sample(loss):
    message = f"{type(loss).__name__} cannot skip the masked steps of a sequence"
    with pytest.raises(ValueError, match=message):
        loss(np.ones((2, 2, 3)), masked((2, 2, 3), [[True, False], [True, True]]))


def test_masked_steps_are_rejected_where_both_taps_are_projected():
    loss = kd.losses.ContrastiveRepresentation("a", "b", embedding=2, bank_size=0)
    heads = loss.make_projector((None, 2, 3), (None, 2, 3))
    heads.build((None, 2, 3))
    student = masked((2, 2, 3), [[True, False], [True, True]])
    with pytest.raises(ValueError, match="ContrastiveRepresentation cannot skip the masked"):
        loss.compare(heads, np.ones((2, 2, 3), "float32"), student)


def test_a_projector_that_changes_the_number_of_steps_rejects_masked_ones():
    loss = kd.losses.Hint("a", "b")
    projector = loss.make_projector((None, 1, 3), (None, 2, 3))
    student = masked((1, 2, 3), [[True, False]])
    with (
        pytest.warns(UserWarning, match="mask"),
        pytest.raises(ValueError, match=r"Hint: the projector changes the steps.*\(1, 2\)"),
    ):
        loss.compare(projector, np.ones((1, 1, 3)), student)


def test_a_projector_without_support_of_masks_keeps_the_mask():
    class Double(keras.layers.Layer):
        def call(self, x):
            return 2.0 * x

    loss = kd.losses.Hint("a", "b")
    student = masked((1, 2, 3), [[True, False]])
    with pytest.warns(UserWarning, match="mask"):
        values = loss.compare(Double(), np.zeros((1, 2, 3)), student)
    np.testing.assert_array_equal(values._keras_mask, [[True, False]])


def test_a_mask_of_pairs_of_steps_is_rejected():
    student = set_mask(keras.ops.ones((2, 1, 3, 3)), np.ones((2, 1, 3, 3), bool))
    with pytest.raises(ValueError, match=r"Hint: the mask .*\(2, 1, 3, 3\).*AttentionScores"):
        kd.losses.Hint("a", "b")(np.ones((2, 1, 3, 3)), student)


class Custom(kd.losses.DistillationLoss):
    """Returns what a function makes of the squared differences."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, teacher, student, labels=None):
        return self.function(keras.ops.square(teacher - student))


@pytest.mark.parametrize(
    ("function", "shape", "found"),
    [
        (keras.ops.mean, (4, 3), r"\(\)"),
        (lambda x: x, (4, 3), r"\(4, 3\)"),
        (lambda x: keras.ops.mean(x, -1, keepdims=True), (4, 3), r"\(4, 1\)"),
        (lambda x: keras.ops.mean(x, 0), (4, 3), r"\(3,\)"),
        (lambda x: keras.ops.mean(x, 1), (4, 5, 3), r"\(4, 3\)"),
        (lambda x: x, (4, 5, 3), r"\(4, 5, 3\)"),
        (lambda x: keras.ops.mean(x, (2, 3)), (4, 5, 6, 3), r"\(4, 5\)"),
    ],
)
@pytest.mark.parametrize("known_batch", [True, False])
def test_values_of_another_shape_are_rejected(function, shape, found, known_batch):
    loss, x = Custom(function), np.ones(shape, "float32")
    positions = "" if len(shape) == 2 else rf" or \(batch, {', '.join(map(str, shape[1:-1]))}\)"
    if not known_batch:
        found = found.replace("4", "None")
    message = rf"Custom: `call` must return.*\(batch,\){positions}, for.*values of shape {found}"
    size = shape[0] if known_batch else None
    batch = keras.KerasTensor((size, *shape[1:]))
    with pytest.raises(ValueError, match=message):
        loss(x, 0 * x) if known_batch else loss(batch, batch)


def test_values_per_sample_and_per_position_are_accepted():
    x = np.random.default_rng(0).normal(size=(4, 5, 6, 3))
    per_sample = Custom(lambda x: keras.ops.mean(x, (1, 2, 3)))(x, 0 * x)
    np.testing.assert_allclose(per_sample, (x**2).mean((1, 2, 3)))
    per_position = Custom(lambda x: keras.ops.mean(x, -1))(x, 0 * x)
    np.testing.assert_allclose(per_position, (x**2).mean(-1))
    np.testing.assert_allclose(Custom(lambda x: x)(x[:, 0, 0, 0], np.zeros(4)), x[:, 0, 0, 0] ** 2)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 5, 3), (4, 5, 6, 3)])
def test_sample_weights_of_a_custom_loss_equal_numpy(shape):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, *shape))
    values = Custom(lambda x: x if len(shape) == 1 else keras.ops.mean(x, -1))(teacher, student)
    expected = (teacher - student) ** 2
    expected = expected if len(shape) == 1 else expected.mean(-1)
    for axes in range(1, len(expected.shape) + 1):
        weights = rng.uniform(size=expected.shape[:axes])
        broadcast = weights.reshape(*weights.shape, *[1] * (expected.ndim - axes))
        found = mean_over_samples(values, weights)
        np.testing.assert_allclose(found, (expected * broadcast).mean(), rtol=1e-12)


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


def test_default_names_are_in_snake_case():
    names = ("SoftTargets", "OutputsMSE", "DIST", "DecoupledKD")
    assert [snake_case(n) for n in names] == ["soft_targets", "outputs_mse", "dist", "decoupled_kd"]


def test_a_negative_weight_is_rejected():
    with pytest.raises(ValueError, match="`weight` must be a finite number"):
        MeanAbsolute(weight=-1)
