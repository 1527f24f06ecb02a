"""Properties of every loss, or of every loss of a kind; `kd.testing.check_loss` has more."""

import inspect

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_kd as kd
from keras_kd import losses
from keras_kd.losses.reduction import mean_per_sample
from tests import toy
from tests.golden_numbers import value_and_gradient
from tests.gradients import compiled_value_and_gradient

ON_LOGITS = {
    "soft_targets": losses.SoftTargets,
    "soft_targets_reverse": lambda: losses.SoftTargets(
        target="reverse", name="soft_targets_reverse"
    ),
    "soft_targets_jensen_shannon": lambda: losses.SoftTargets(
        target="jensen_shannon", name="soft_targets_jensen_shannon"
    ),
    "outputs_mse": losses.OutputsMSE,
    "decoupled_kd": losses.DecoupledKD,
    "normalized_kd": losses.NormalizedKD,
    "dist": losses.DIST,
    "wttm": losses.WTTM,
    "multi_temperature": losses.MultiTemperature,
    "taid": losses.TAID,
    "logit_standardization": losses.LogitStandardization,
    "labels_first": losses.LabelsFirst,
}
RELATIONS = {
    "similarity_preserving": lambda: losses.SimilarityPreserving("features", "features"),
    "relational_kd": lambda: losses.RelationalKD("features", "features"),
    "probabilistic_transfer": lambda: losses.ProbabilisticTransfer("features", "features"),
    "contrastive_representation": lambda: losses.ContrastiveRepresentation(
        "features", "features", embedding=8, bank_size=16
    ),
}
ON_FEATURES = {
    "hint": lambda: losses.Hint("conv", "conv"),
    "attention_transfer": lambda: losses.AttentionTransfer("conv", "conv"),
    "neuron_selectivity": lambda: losses.NeuronSelectivity("conv", "conv"),
    "channel_wise": lambda: losses.ChannelWise("conv", "conv"),
    "pearson_features": lambda: losses.PearsonFeatures("conv", "conv"),
    "masked_generation": lambda: losses.MaskedGeneration("conv", "conv"),
    "chunk_mimicry": lambda: losses.ChunkMimicry(1.0, "features", "features"),
    **RELATIONS,
}
MAPS = (
    "hint",
    "attention_transfer",
    "neuron_selectivity",
    "channel_wise",
    "pearson_features",
    "masked_generation",
)
EVERY = {**ON_LOGITS, **ON_FEATURES}
#: Not minimal where the student equals the teacher.
CROSS_ENTROPIES = ("normalized_kd", "contrastive_representation", "wttm")
#: DIST divides by a norm plus 1e-8, as its paper's code does.
ZERO = {"dist": 1e-3}

each = pytest.mark.parametrize("name", EVERY)
few = settings(max_examples=4, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
batches = st.integers(1, 6)


def example(name, seed=0, batch=5, size=7, scale=2.0):
    """Teacher, student and labels that the loss can compare."""
    rng = np.random.default_rng(seed)
    maps = name in MAPS
    shape = (batch, 3, 3, 4) if maps else (batch, size)
    teacher, student = (scale * rng.normal(size=shape) for _ in range(2))
    return teacher, student, rng.integers(0, size, batch)


def test_every_public_loss_is_tested_here():
    public = {cls for _, cls in inspect.getmembers(losses, inspect.isclass)}
    # A base class, a former name, and losses with other taps or labels, tested in their files.
    others = {losses.DistillationLoss, losses.LogitsMSE}
    others |= {losses.BoundedRegression, losses.AttentiveImitation, losses.GaussianTargets}
    others.add(losses.AttentionScores)
    assert public - others == {type(make()) for make in EVERY.values()}


@pytest.mark.parametrize("name", [name for name in EVERY if name not in CROSS_ENTROPIES])
@few
@given(seed=seeds, batch=batches)
def test_it_is_minimal_where_the_student_equals_the_teacher(name, seed, batch):
    teacher, student, labels = example(name, seed, batch)
    loss = EVERY[name]()
    minimum, gradient = value_and_gradient(loss, teacher, teacher, labels)
    value, _ = value_and_gradient(loss, teacher, student, labels)
    np.testing.assert_allclose(minimum, 0, atol=ZERO.get(name, 1e-6))
    np.testing.assert_allclose(gradient, 0, atol=ZERO.get(name, 1e-6))
    assert (value > -1e-12).all()


@pytest.mark.parametrize("name", ON_LOGITS)
@few
@given(
    seed=seeds,
    batch=batches,
    size=st.sampled_from([2, 3, 10, 1000]),
    one_hot=st.booleans(),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
)
def test_large_logits_have_finite_values_and_gradients(name, dtype, seed, batch, size, one_hot):
    rng = np.random.default_rng(seed)
    teacher, student = (1e4 * rng.choice([-1.0, 0.0, 1.0], (batch, size)) for _ in range(2))
    if one_hot:
        teacher = np.where(np.eye(size)[rng.integers(0, size, batch)] > 0, 0.0, -1e4)
    labels = rng.integers(-1, size, batch)
    teacher, student = ops.cast(teacher, dtype), ops.cast(student, dtype)
    values, gradient = value_and_gradient(ON_LOGITS[name](), teacher, student, labels)
    assert values.dtype == "float32"
    assert values.shape == (batch,)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient.astype("float32")).all()


@pytest.mark.parametrize("name", ["soft_targets", "outputs_mse", "decoupled_kd", "normalized_kd"])
def test_a_confident_incorrect_student_has_a_large_gradient(name):
    teacher, student = np.array([[500.0, -500.0, 0.0]]), np.array([[-500.0, 500.0, 0.0]])
    _, gradient = value_and_gradient(ON_LOGITS[name](), teacher, student, np.array([0]))
    assert np.abs(gradient).max() > 0.9


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if name != "outputs_mse"])
@few
@given(seed=seeds, constant=st.floats(-100, 100))
def test_a_constant_added_to_all_logits_changes_nothing(name, seed, constant):
    teacher, student, labels = example(name, seed)
    loss = ON_LOGITS[name]()
    values, gradient = value_and_gradient(loss, teacher, student, labels)
    moved, slope = value_and_gradient(loss, teacher + constant, student - 2 * constant, labels)
    np.testing.assert_allclose(moved, values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", RELATIONS)
def test_a_batch_of_one_has_no_relations(name):
    values, gradient = value_and_gradient(EVERY[name](), *example(name, batch=1))
    np.testing.assert_allclose(values, 0, atol=1e-7)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


@pytest.mark.parametrize("name", ON_FEATURES)
@pytest.mark.parametrize(
    ("zeros", "dtype"),
    [
        ("teacher", "float32"),
        ("student", "float16"),
        ("student", "float32"),
        ("both", "bfloat16"),
        ("one sample", "float32"),
    ],
)
def test_features_of_norm_zero_have_finite_values_and_gradients(name, zeros, dtype):
    teacher, student, labels = example(name)
    if zeros in ("teacher", "both"):
        teacher = 0 * teacher
    if zeros in ("student", "both"):
        student = 0 * student
    if zeros == "one sample":
        student[0] = 0
    values, gradient = value_and_gradient(
        ON_FEATURES[name](), ops.cast(teacher, dtype), ops.cast(student, dtype), labels
    )
    assert np.isfinite(values).all()
    assert np.isfinite(gradient.astype("float32")).all()


@pytest.mark.slow
@pytest.mark.parametrize("names", [tuple(ON_LOGITS), MAPS, (*RELATIONS, "chunk_mimicry")])
def test_xla_compiles_them_with_a_gradient_for_every_sample(names):
    """One program of several losses compiles in a fraction of the time."""
    teacher, student, labels = example(names[0])
    teacher, student = (x.astype("float32") for x in (teacher, student))
    losses = [EVERY[name]() for name in names]

    def compare(students):
        pairs = zip(losses, ops.unstack(students), strict=True)
        return ops.stack([mean_per_sample(loss(teacher, one, labels)) for loss, one in pairs])

    values, gradients = compiled_value_and_gradient(compare, np.stack([student] * len(losses)))
    for loss, value, gradient in zip(losses, values, gradients, strict=True):
        expected, _ = value_and_gradient(loss, teacher, student, labels)
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-6, err_msg=loss.name)
        assert (np.abs(gradient).reshape(len(student), -1).max(axis=1) > 0).all(), loss.name


def fit_all(names, policy="float32"):
    keras.config.set_dtype_policy(policy)
    try:
        student, teacher = toy.cnn("student"), toy.cnn("teacher", filters=6, seed=1)
    finally:
        keras.config.set_dtype_policy("float32")
    model = kd.Distiller(student, teacher, [EVERY[name]() for name in names])
    optimizer = keras.optimizers.SGD(0.01)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    model.compile(optimizer, toy.sparse_loss(), run_eagerly=True)
    before = student.get_layer("conv").kernel.numpy()
    logs = model.fit(*toy.data(8), batch_size=8, verbose=0).history
    assert np.isfinite([logs[name] for name in ("loss", *names)]).all()
    assert all(np.isfinite(weight).all() for weight in student.get_weights())
    assert (student.get_layer("conv").kernel.numpy() != before).any()


@pytest.mark.slow
def test_all_losses_train_a_student_together():
    fit_all(EVERY)  # Each loss is traced above.


@pytest.mark.slow
def test_losses_with_a_state_train_a_student_with_xla():
    """A bank of features, its projectors and a schedule are variables of the compiled step."""
    stateful = [losses.ContrastiveRepresentation("hidden", "hidden", 4, 8), losses.TAID()]
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", units=9, seed=1), stateful)
    model.compile("sgd", jit_compile=True)
    logs = model.fit(toy.vectors(8)[0], batch_size=8, verbose=0).history
    assert np.isfinite([logs[name] for name in ("contrastive_representation", "taid")]).all()


def test_losses_on_logits_train_a_student_in_mixed_precision():
    fit_all(ON_LOGITS, "mixed_float16")


@pytest.mark.slow
def test_segmentation_maps_train_a_student():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (
        keras.Model(inputs, keras.layers.Conv2D(3, 1, name=n)(inputs)) for n in ("s", "t")
    )
    names = ["decoupled_kd", "normalized_kd", "dist", "soft_targets"]
    model = kd.Distiller(student, teacher, names)
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    y = np.random.default_rng(0).integers(0, 3, (8, 6, 6))
    logs = model.fit(toy.data(8)[0], y, verbose=0).history
    assert np.isfinite([logs[name] for name in names]).all()


@pytest.mark.slow
def test_losses_that_relate_samples_reject_batches_of_one_but_allow_a_last_one():
    relating = {name for name, make in EVERY.items() if make().relates_samples}
    assert relating == set(RELATIONS)
    relations = [make() for make in RELATIONS.values()]
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), relations)
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    x, y = toy.data(5)
    message = "relate the samples of a batch.*two or more"
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, batch_size=1, verbose=0)
    data = toy.batches(x, y, size=1)
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)
    logs = model.fit(x, y, batch_size=4, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
