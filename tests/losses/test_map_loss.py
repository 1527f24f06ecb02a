import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.losses import ChannelWise, MaskedGeneration, PearsonFeatures
from keras_kd.losses.reduction import mean_per_sample
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient

LOSSES = {
    "channel_wise": lambda **given: ChannelWise("maps", "maps", **given),
    "pearson_features": lambda **given: PearsonFeatures("maps", "maps", **given),
    "masked_generation": lambda **given: MaskedGeneration("maps", "maps", **given),
}
each = pytest.mark.parametrize("name", LOSSES)
X = np.random.default_rng(0).normal(size=(6, 8, 4, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, (6, 8, 4))
VOID = np.random.default_rng(2).uniform(size=Y.shape) < 0.4


def segmenter(name, filters, seed, strides=1):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input(X.shape[1:])
    x = layers.Conv2D(filters, 3, strides, padding="same", name="maps")(x)
    x = layers.UpSampling2D(strides)(x)
    return keras.Model(image, layers.Conv2D(3, 1, name="logits")(x), name=name)


@each
def test_unlabeled_positions_change_nothing(name):
    teacher, student, _ = golden_numbers.taps("golden_c", "features")
    loss = LOSSES[name](skip_unlabeled=True)
    labels = np.random.default_rng(0).integers(-1, 2, teacher.shape[:3])
    other = np.where(labels[..., None] < 0, teacher[::-1] + 3, teacher)
    moved = np.where(labels[..., None] < 0, 5 * student[::-1], student)
    values, gradient = value_and_gradient(loss, teacher, student, labels)
    again, slope = value_and_gradient(loss, other, moved, labels)
    np.testing.assert_allclose(again, values, rtol=1e-9)
    np.testing.assert_allclose(slope, gradient, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(gradient[labels < 0], 0)
    assert (np.abs(gradient[labels >= 0]).max(axis=-1) > 0).all()


@each
def test_labels_of_every_position_change_nothing(name):
    teacher, student, _ = golden_numbers.taps("golden_c", "features")
    labels = np.zeros(teacher.shape[:3], "int32")
    found = value_and_gradient(LOSSES[name](skip_unlabeled=True), teacher, student, labels)
    expected = value_and_gradient(LOSSES[name](), teacher, student)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@each
def test_a_batch_without_labels_has_the_value_zero(name):
    teacher, student, _ = golden_numbers.taps("golden_c", "features")
    labels = np.full(teacher.shape[:3], kd.UNLABELED)
    values, gradient = value_and_gradient(
        LOSSES[name](skip_unlabeled=True), teacher, student, labels
    )
    np.testing.assert_allclose(values, 0, atol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_labels_in_rows_and_of_another_size_are_read_at_the_centers():
    loss, student = ChannelWise("a", "b", skip_unlabeled=True), np.zeros((2, 3, 2, 5))
    labels = np.full((2, 9, 6), kd.UNLABELED)
    labels[:, 1::3, 1::3] = 2
    labels[1, 4, 1] = kd.UNLABELED
    rows = np.where(labels[..., None] < 0, np.nan, np.eye(3)[labels])
    expected = np.ones((2, 3, 2), bool)
    expected[1, 1, 0] = False
    for given in (labels, labels[..., None], rows):
        np.testing.assert_array_equal(loss.counted_positions(given, student), expected)


@each
def test_void_pixels_of_the_compiled_loss_are_skipped_with_a_projector(name):
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    teacher, student = segmenter("teacher", 5, 1), segmenter("student", 4, 2, strides=2)

    def trained(labels, hard):
        loss = LOSSES[name](skip_unlabeled=True, **({"seed": 3} if "masked" in name else {}))
        keras.utils.set_random_seed(5)
        model = kd.Distiller(student, teacher, loss)
        assert len(model.projectors) == 1
        model.compile(keras.optimizers.SGD(0.0), hard, run_eagerly=True)
        return model.fit(X, labels, batch_size=6, verbose=0).history[name]

    hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    void = trained(np.where(VOID, 255, Y), ignoring)
    np.testing.assert_array_equal(void, trained(np.where(VOID, kd.UNLABELED, Y), hard))
    assert void != trained(Y, hard)


@each
def test_labels_of_samples_cannot_be_those_of_positions(name):
    teacher, student, labels = golden_numbers.taps("golden_c", "features")
    loss = LOSSES[name](skip_unlabeled=True)
    with pytest.raises(ValueError, match="needs a label for each position of the map of shape"):
        loss(teacher, student, labels)
    with pytest.raises(ValueError, match="needs labels"):
        loss(teacher, student)


@each
def test_taps_that_no_projector_can_compare_are_rejected(name):
    loss = LOSSES[name]()
    with pytest.raises(ValueError, match=r"compares maps.*kd.taps"):
        loss.make_projector((None, 8), (None, 8))
    with pytest.raises(ValueError, match="teacher tap 'maps' has shape"):
        LOSSES[name](projector=None).make_projector((None, 4, 4, 6), (None, 4, 4, 8))
    with pytest.raises(ValueError, match="`projector` must be 'auto', None or a Keras layer"):
        LOSSES[name](projector="dense")


@each
def test_sequences_of_unmasked_steps_are_maps_too(name):
    if name == "masked_generation":
        with pytest.raises(ValueError, match="MaskedGeneration compares maps"):
            LOSSES[name]().make_projector((None, 6, 4), (None, 6, 4))
        return
    teacher, student = np.random.default_rng(0).normal(size=(2, 3, 6, 4))
    found = mean_per_sample(LOSSES[name]()(teacher, student))
    expected = LOSSES[name]()(teacher[:, :, None], student[:, :, None])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
