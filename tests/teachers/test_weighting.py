"""Weightings: the papers' numbers, sums of one, screening, missing labels, ties."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.models.keras_compat import set_mask
from keras_kd.teachers.weighting import cross_entropy

WEIGHTINGS = [
    kd.weighting.Uniform(),
    kd.weighting.Fixed([3, 0, 1]),
    kd.weighting.Entropy(),
    kd.weighting.CrossEntropy(),
    kd.weighting.Screening(keep=2),
    kd.weighting.Screening(threshold=0.5),
    kd.weighting.Screening(keep=2, then=kd.weighting.Fixed([3, 0, 1])),
]


GROUPS = np.array([0, 2, 1, 0])


def test_the_teacher_of_a_group_has_the_whole_weight():
    weighting, kept = kd.weighting.ByGroup("who"), np.ones((3, 4), "float32")
    expected = np.eye(3)[GROUPS].T
    for groups in (GROUPS, GROUPS[:, None], GROUPS.astype("uint8")):
        np.testing.assert_array_equal(weighting.select({"who": groups}, kept), expected)
    kept[2, 1] = 0
    np.testing.assert_array_equal(weighting.select({"who": GROUPS}, kept), expected * kept)
    again = kd.weighting.ByGroup.from_config(weighting.get_config())
    assert again.key == "who"


def test_groups_must_be_numbers_of_teachers_in_the_inputs():
    weighting, kept = kd.weighting.ByGroup(), np.ones((2, 4), "float32")
    with pytest.raises(ValueError, match=r"key 'teacher_id'. Received: \['image'\]"):
        weighting.select({"image": GROUPS}, kept)
    with pytest.raises(ValueError, match="must be integers from 0. Received: .*float64"):
        weighting.select({"teacher_id": GROUPS / 2}, kept)
    with pytest.raises(Exception, match="'teacher_id' in the inputs must be from 0 to 1"):
        weighting.select({"teacher_id": GROUPS}, kept)
    with pytest.raises(ValueError, match="chooses one of several teachers.*Received: 1 teacher"):
        weighting.check(1)
    with pytest.raises(ValueError, match="works in a Distiller and not within another weighting"):
        kd.weighting.Screening(keep=1, then=weighting)(logits(), None)


def golden(which):
    with np.load(f"tests/golden/golden_{which}.npz") as file:
        return {name: file[name] for name in file.files}


def logits(teachers=3, samples=8, classes=5, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(size=(teachers, samples, classes)) * scale


@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_the_papers_numbers(which, dtype, tolerance):
    data = golden(which)
    many, labels = data["in/many_teacher_logits"].astype(dtype), data["in/labels"]
    losses, labeled = cross_entropy(keras.ops.convert_to_tensor(many), labels)
    np.testing.assert_allclose(losses, data["out/camkd/cross_entropy"], rtol=tolerance)
    assert np.all(labeled)
    weights = kd.weighting.CrossEntropy()(many, labels)
    np.testing.assert_allclose(weights, data["out/camkd/weights"], rtol=tolerance)
    weights = kd.weighting.Entropy()(many)
    expected = data["out/ebkd/weights"] / (len(many) - 1)  # Theirs sum to K - 1.
    np.testing.assert_allclose(weights, expected, rtol=tolerance)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: type(w).__name__)
@pytest.mark.parametrize("labels", ["integers", "one-hot", "column", "none", "some"])
def test_weights_sum_to_one_and_none_is_negative(weighting, labels):
    y = np.arange(8) % 5
    some = np.where(np.arange(8) % 2, y, kd.UNLABELED)
    forms = {
        "integers": y,
        "one-hot": np.eye(5)[y],
        "column": y[:, None],
        "none": None,
        "some": some,
    }
    weights = np.asarray(weighting(logits(), forms[labels]))
    assert weights.shape == (3, 8)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "weighting", WEIGHTINGS[2:4] + WEIGHTINGS[5:6], ids=lambda w: type(w).__name__
)
def test_a_single_teacher_has_all_the_weight(weighting):
    np.testing.assert_array_equal(weighting(logits(1), np.arange(8) % 5), np.ones((1, 8)))


def test_the_better_teacher_has_a_larger_weight():
    y = np.zeros(4, int)
    many = np.stack([np.eye(5)[y] * scale for scale in (5.0, 1.0, -5.0)])
    weights = np.asarray(kd.weighting.CrossEntropy()(many, y))
    assert (weights[0] > weights[1]).all()
    assert (weights[1] > weights[2]).all()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_screening_keeps_exactly_the_k_best_teachers(keep):
    many, y = logits(4, 50), np.arange(50) % 5
    weights = np.asarray(kd.weighting.Screening(keep=keep)(many, y))
    assert ((weights > 0).sum(0) == keep).all()
    losses = np.asarray(cross_entropy(keras.ops.convert_to_tensor(many), y)[0])
    for sample in range(50):
        kept = losses[weights[:, sample] > 0, sample]
        assert kept.max() <= np.sort(losses[:, sample])[keep - 1]


def test_screening_keeps_exactly_k_of_equal_teachers():
    many = np.repeat(logits(1), 4, axis=0)
    weights = np.asarray(kd.weighting.Screening(keep=2)(many, np.arange(8) % 5))
    np.testing.assert_allclose(np.sort(weights, axis=0), np.repeat([[0], [0], [0.5], [0.5]], 8, 1))


def test_kept_teachers_have_the_weights_of_an_ensemble_without_the_others():
    many, y = logits(3), np.arange(8) % 5
    weights = np.asarray(kd.weighting.Screening(keep=2)(many, y))
    for sample in range(8):
        kept = weights[:, sample] > 0
        alone = kd.weighting.CrossEntropy()(
            many[kept][:, sample : sample + 1], y[sample : sample + 1]
        )
        np.testing.assert_allclose(weights[kept, sample], np.asarray(alone)[:, 0], rtol=1e-5)


def test_a_threshold_drops_teachers_with_a_larger_difference():
    many, y = logits(4, 50), np.arange(50) % 5
    weights = np.asarray(kd.weighting.Screening(threshold=1.0)(many, y))
    losses = np.asarray(cross_entropy(keras.ops.convert_to_tensor(many), y)[0])
    np.testing.assert_array_equal(weights > 0, losses <= losses.min(0) + 1.0)


def test_samples_without_a_label_fall_back_to_entropy():
    many, y = logits(), np.array([0, -1, 2, -1, 4, -1, 1, -1])
    weights = np.asarray(kd.weighting.CrossEntropy()(many, y))
    by_entropy = np.asarray(kd.weighting.Entropy()(many))
    labeled = np.asarray(kd.weighting.CrossEntropy()(many, np.maximum(y, 0)))
    np.testing.assert_array_equal(weights[:, 1::2], by_entropy[:, 1::2])
    np.testing.assert_array_equal(weights[:, ::2], labeled[:, ::2])
    one_hot = np.where((y < 0)[:, None], np.nan, np.eye(5)[np.maximum(y, 0)])
    np.testing.assert_array_equal(kd.weighting.CrossEntropy()(many, one_hot), weights)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: type(w).__name__)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_extreme_logits_give_finite_weights(weighting, dtype):
    many = (np.sign(logits()) * 1e4).astype(dtype)
    for labels in (np.arange(8) % 5, None):
        weights = np.asarray(weighting(many, labels))
        assert np.isfinite(weights).all()
        np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)


def test_dense_prediction_is_averaged_over_labeled_positions():
    many, y = logits(3, 8 * 6).reshape(3, 8, 2, 3, 5), np.arange(48).reshape(8, 2, 3) % 5
    losses, labeled = cross_entropy(keras.ops.convert_to_tensor(many), y)
    flat, _ = cross_entropy(keras.ops.convert_to_tensor(many.reshape(3, 48, 5)), y.reshape(48))
    np.testing.assert_allclose(losses, np.asarray(flat).reshape(3, 8, 6).mean(-1), rtol=1e-6)
    y[:, 0] = -1
    losses, labeled = cross_entropy(keras.ops.convert_to_tensor(many), y)
    half = np.asarray(flat).reshape(3, 8, 6)[..., 3:].mean(-1)
    np.testing.assert_allclose(losses, half, rtol=1e-6)
    assert np.all(labeled)


@pytest.mark.parametrize(
    "weighting",
    [kd.weighting.Entropy(), kd.weighting.CrossEntropy(), kd.weighting.Screening(keep=1)],
    ids=lambda w: type(w).__name__,
)
@pytest.mark.parametrize("labels", [np.arange(8) % 5, None], ids=["labels", "none"])
def test_masked_steps_of_sequences_do_not_count(weighting, labels):
    """Each sequence has one to four steps of eight, the other steps are masked."""
    many, real = logits(3, 8 * 4).reshape(3, 8, 4, 5), np.arange(4) < np.arange(1, 9)[:, None]
    masked = set_mask(keras.ops.convert_to_tensor(many), np.stack([real] * 3))
    y = None if labels is None else np.broadcast_to(labels[:, None], (8, 4))
    weights = np.asarray(weighting(masked, y))
    for i in range(8):
        steps = slice(None, min(i + 1, 4))
        alone = weighting(many[:, i : i + 1, steps], None if y is None else y[i : i + 1, steps])
        np.testing.assert_allclose(weights[:, i : i + 1], alone, rtol=1e-5)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: type(w).__name__)
def test_a_weighting_is_rebuilt_from_its_configuration(weighting):
    config = keras.saving.serialize_keras_object(weighting)
    again = keras.saving.deserialize_keras_object(config)
    y = np.arange(8) % 5
    np.testing.assert_array_equal(weighting(logits(), y), again(logits(), y))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.weighting.Fixed([1, -1]), "non-negative"),
        (lambda: kd.weighting.Fixed([0, 0]), "one above 0"),
        (kd.weighting.Screening, "either `keep` or `threshold`"),
        (lambda: kd.weighting.Screening(keep=2, threshold=1), "either `keep` or `threshold`"),
        (lambda: kd.weighting.Screening(keep=0), "at least 1"),
        (lambda: kd.weighting.Screening(threshold=-1), "at least 0"),
        (lambda: kd.weighting.Screening(keep=4).check(3), "must be at most 3"),
        (lambda: kd.weighting.Fixed([1, 2]).check(3), "there must be 3 weights"),
        (lambda: kd.weighting.CrossEntropy()(logits(), np.zeros((8, 3))), "Labels must be"),
    ],
)
def test_invalid_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "weighting",
    [
        kd.weighting.CrossEntropy(),
        kd.weighting.Entropy(),
        kd.weighting.Screening(1),
        kd.weighting.Screening(threshold=1.0),
    ],
)
def test_a_replica_without_samples_has_no_weights(weighting):
    assert weighting(np.zeros((2, 0, 3), "float32"), np.zeros(0, int)).shape == (2, 0)
