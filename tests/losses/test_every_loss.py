"""What holds of all losses, or of all of one kind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_kd as kd
from keras_kd import losses
from tests import toy
from tests.golden_numbers import value_and_gradient

ON_LOGITS = {
    "soft_targets": losses.SoftTargets,
    "soft_targets_reverse": lambda: losses.SoftTargets(target="reverse"),
    "soft_targets_jensen_shannon": lambda: losses.SoftTargets(target="jensen_shannon"),
    "logits_mse": losses.LogitsMSE,
    "decoupled_kd": losses.DecoupledKD,
    "normalized_kd": losses.NormalizedKD,
    "dist": losses.DIST,
    "logit_standardization": losses.LogitStandardization,
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
    "chunk_mimicry": lambda: losses.ChunkMimicry(1.0, "features", "features"),
    **RELATIONS,
}
EVERY = {**ON_LOGITS, **ON_FEATURES}
#: They are not least where the student is the teacher.
CROSS_ENTROPIES = ("normalized_kd", "contrastive_representation")
#: They see the logits themselves and not the softmax.
OF_VALUES = ("logits_mse",)
# DIST divides by a norm plus 1e-8, as its paper's code does.
ZERO = {"dist": 1e-3}

each = pytest.mark.parametrize("name", EVERY)
each_on_logits = pytest.mark.parametrize("name", ON_LOGITS)
few = settings(max_examples=8, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
classes = st.sampled_from([2, 3, 10, 1000])
batches = st.integers(1, 6)


def example(name, seed=0, batch=5, size=7, scale=2.0):
    """Teacher, student and labels that the loss can compare."""
    rng = np.random.default_rng(seed)
    maps = name in ("hint", "attention_transfer", "neuron_selectivity")
    shape = (batch, 3, 3, 4) if maps else (batch, size)
    teacher, student = (scale * rng.normal(size=shape) for _ in range(2))
    return teacher, student, rng.integers(0, size, batch)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in CROSS_ENTROPIES])
@few
@given(seed=seeds, batch=batches)
def test_it_is_least_where_the_student_is_the_teacher(name, seed, batch):
    teacher, student, labels = example(name, seed, batch)
    loss = EVERY[name]()
    least, gradient = value_and_gradient(loss, teacher, teacher, labels)
    value, _ = value_and_gradient(loss, teacher, student, labels)
    np.testing.assert_allclose(least, 0, atol=ZERO.get(name, 1e-6))
    np.testing.assert_allclose(gradient, 0, atol=ZERO.get(name, 1e-6))
    assert (value > -1e-12).all()


@each_on_logits
@few
@given(seed=seeds, batch=batches, size=classes, one_hot=st.booleans())
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_enormous_logits_give_finite_values_and_gradients(name, dtype, seed, batch, size, one_hot):
    rng = np.random.default_rng(seed)
    teacher, student = (1e4 * rng.choice([-1.0, 0.0, 1.0], (batch, size)) for _ in range(2))
    if one_hot:
        teacher = np.where(np.eye(size)[rng.integers(0, size, batch)] > 0, 0.0, -1e4)
    labels = rng.integers(-1, size, batch)
    teacher, student = tf.cast(teacher, dtype), tf.cast(student, dtype)
    values, gradient = value_and_gradient(ON_LOGITS[name](), teacher, student, labels)
    assert values.dtype == "float32"
    assert np.isfinite(values).all()
    assert np.isfinite(gradient.astype("float32")).all()


@pytest.mark.parametrize("name", ["soft_targets", "logits_mse", "decoupled_kd", "normalized_kd"])
def test_a_confidently_wrong_student_keeps_its_gradient(name):
    teacher, student = np.array([[500.0, -500.0, 0.0]]), np.array([[-500.0, 500.0, 0.0]])
    _, gradient = value_and_gradient(ON_LOGITS[name](), teacher, student, np.array([0]))
    assert np.abs(gradient).max() > 0.9


@each
@few
@given(seed=seeds, batch=st.integers(2, 6))
def test_permuting_the_batch_permutes_the_values(name, seed, batch):
    teacher, student, labels = example(name, seed, batch)
    order = np.random.default_rng(seed).permutation(batch)
    loss = EVERY[name]()
    values, gradient = value_and_gradient(loss, teacher, student, labels)
    permuted, slope = value_and_gradient(loss, teacher[order], student[order], labels[order])
    np.testing.assert_allclose(permuted, values[order], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(slope, gradient[order], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if name not in OF_VALUES])
@few
@given(seed=seeds, constant=st.floats(-100, 100))
def test_a_constant_added_to_all_logits_changes_nothing(name, seed, constant):
    teacher, student, labels = example(name, seed)
    loss = ON_LOGITS[name]()
    values, gradient = value_and_gradient(loss, teacher, student, labels)
    moved, slope = value_and_gradient(loss, teacher + constant, student - 2 * constant, labels)
    np.testing.assert_allclose(moved, values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if name != "logits_mse"])
def test_a_class_more_or_less_is_any_number_of_classes(name):
    for size in (2, 1000):
        teacher, student, labels = example(name, size=size)
        values, gradient = value_and_gradient(ON_LOGITS[name](), teacher, student, labels)
        assert values.shape == (5,)
        assert np.isfinite(gradient).all()


@each
def test_a_batch_of_one_is_finite(name):
    values, gradient = value_and_gradient(EVERY[name](), *example(name, batch=1))
    assert values.shape == (1,)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    if name in RELATIONS:
        np.testing.assert_allclose(values, 0, atol=1e-7)
        np.testing.assert_allclose(gradient, 0, atol=1e-7)


@pytest.mark.parametrize("name", ON_FEATURES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("which", ["teacher", "student", "both", "one sample"])
def test_features_of_norm_zero_give_finite_values_and_gradients(name, dtype, which):
    teacher, student, labels = example(name)
    if which in ("teacher", "both"):
        teacher = 0 * teacher
    if which in ("student", "both"):
        student = 0 * student
    if which == "one sample":
        student[0] = 0
    values, gradient = value_and_gradient(
        ON_FEATURES[name](), tf.cast(teacher, dtype), tf.cast(student, dtype), labels
    )
    assert np.isfinite(values).all()
    assert np.isfinite(gradient.astype("float32")).all()


@each
def test_half_precision_is_lifted_before_anything_is_computed(name):
    teacher, student, labels = example(name)
    teacher, student = (tf.cast(x, "float16") for x in (teacher, student))
    values, _ = value_and_gradient(EVERY[name](), teacher, student, labels)
    lifted, _ = value_and_gradient(
        EVERY[name](), tf.cast(teacher, "float32"), tf.cast(student, "float32"), labels
    )
    np.testing.assert_array_equal(values, lifted)


@each
def test_it_comes_back_from_its_configuration(name):
    loss = EVERY[name]()
    loss.weight = 0.25
    again = losses.deserialize(losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert losses.get(losses.serialize(loss)).get_config() == loss.get_config()
    teacher, student, labels = example(name)
    np.testing.assert_array_equal(
        value_and_gradient(again, teacher, student, labels)[0],
        value_and_gradient(loss, teacher, student, labels)[0],
    )


def test_every_argument_is_in_the_configuration():
    changed = [
        losses.SoftTargets(3.0, "sigmoid", 0.5, "a", "b", "mine", "reverse"),
        losses.DecoupledKD(0.5, 2.0, 3.0, 0.5, "a", "b", "mine"),
        losses.NormalizedKD(0.5, 2.0, 0.5, "a", "b", "mine"),
        losses.DIST(0.5, 2.0, 3.0, 0.5, "a", "b", "mine"),
        losses.LogitStandardization(losses.DecoupledKD(beta=3.0), 0.5, "mine"),
        losses.Hint("a", "b", None, 0.5, "mine", "cosine"),
        losses.Hint(taps=[("a", "b"), ("c", "d")], name="mine"),
        losses.Hint(taps="auto", name="mine"),
        losses.AttentionTransfer("a", "b", 3.0, 0.5, "mine"),
        losses.NeuronSelectivity("a", "b", 0.5, "mine"),
        losses.SimilarityPreserving("a", "b", 0.5, "mine"),
        losses.RelationalKD("a", "b", 1.0, 2.0, None, 0.5, "mine"),
        losses.ProbabilisticTransfer("a", "b", 0.5, "mine"),
        losses.ContrastiveRepresentation("a", "b", 16, 32, 0.1, 0.5, "mine"),
    ]
    for loss in changed:
        again = losses.deserialize(losses.serialize(loss))
        assert again.get_config() == loss.get_config()
        assert (again.teacher_tap, again.student_tap) == (loss.teacher_tap, loss.student_tap)
        assert again.name == "mine"


@pytest.mark.parametrize(
    "name", sorted({n for n in EVERY if not n.startswith("soft_targets_")} - {"hint"})
)
def test_it_is_had_by_name(name):
    loss = losses.get(name)
    assert loss.name == name
    assert type(loss) is type(EVERY[name]())


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="no distillation loss 'decoupled'.*'decoupled_kd'"):
        losses.get("decoupled")
    with pytest.raises(ValueError, match="There is no distillation loss 'feature_loss'"):
        losses.get("feature_loss")


# The others train without XLA in the tests below.
@pytest.mark.parametrize(
    ("name", "jit"),
    [*((name, True) for name in EVERY), *((name, False) for name in ON_FEATURES)],
)
def test_it_trains_a_student(name, jit):
    student = toy.cnn("student")
    model = kd.Distiller(student, toy.cnn("teacher", filters=6, seed=1), EVERY[name]())
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), jit_compile=jit)
    before = student.get_layer("conv").kernel.numpy()
    logs = model.fit(*toy.data(8), batch_size=8, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert (student.get_layer("conv").kernel.numpy() != before).any()


@each_on_logits
def test_it_trains_in_half_precision(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        student, teacher = toy.cnn("student"), toy.cnn("teacher", seed=1)
    finally:
        keras.config.set_dtype_policy("float32")
    model = kd.Distiller(student, teacher, ON_LOGITS[name]())
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
    logs = model.fit(*toy.data(16), batch_size=8, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(w.numpy()).all() for w in student.weights)


@pytest.mark.parametrize("name", ["decoupled_kd", "normalized_kd"])
def test_a_loss_that_needs_labels_says_so_before_training(name):
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), name)
    model.compile("sgd", loss=None)
    with pytest.raises(ValueError, match=r"needs labels: pass `y` to `fit`"):
        model.fit(toy.data()[0], verbose=0)


@pytest.mark.parametrize("name", ["decoupled_kd", "normalized_kd", "dist", "logit_standardization"])
@pytest.mark.parametrize(("units", "activation"), [(1, None), (3, "sigmoid")])
def test_a_loss_on_classes_refuses_binary_outputs(name, units, activation):
    student, teacher = (toy.cnn(n, classes=units, activation=activation) for n in ("s", "t"))
    with pytest.raises(ValueError, match="one class of several.*SoftTargets and LogitsMSE"):
        kd.Distiller(student, teacher, name)


@pytest.mark.parametrize("name", RELATIONS)
def test_samples_one_at_a_time_are_refused_and_a_last_one_is_not(name):
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), RELATIONS[name]())
    model.compile("sgd", toy.sparse_loss())
    x, y = toy.data(9)
    message = "relate the samples of a batch.*two or more"
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, batch_size=1, verbose=0)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(1, drop_remainder=True)
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)
    logs = model.fit(x, y, batch_size=4, verbose=0).history
    assert np.isfinite(logs["loss"]).all()


@pytest.mark.parametrize("name", ["attention_transfer", "neuron_selectivity"])
def test_a_loss_on_maps_refuses_vectors(name):
    loss = losses.get(
        {
            "attention_transfer": losses.AttentionTransfer("conv", "features"),
            "neuron_selectivity": losses.NeuronSelectivity("conv", "features"),
        }[name]
    )
    with pytest.raises(ValueError, match=r"compares maps.*student_tap='features' of shape"):
        kd.Distiller(toy.cnn("student"), toy.cnn("teacher"), loss)


@pytest.mark.parametrize("name", ["decoupled_kd", "normalized_kd", "dist", "soft_targets"])
def test_segmentation_maps_are_learned(name):
    inputs = keras.Input((6, 6, 1))
    student, teacher = (
        keras.Model(inputs, keras.layers.Conv2D(3, 1, name=n)(inputs)) for n in ("s", "t")
    )
    model = kd.Distiller(student, teacher, name)
    model.compile("sgd", toy.sparse_loss())
    x = toy.data(8)[0]
    y = np.random.default_rng(0).integers(0, 3, (8, 6, 6))
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
