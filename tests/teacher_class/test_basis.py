"""Principal components: students mimic chunks of them, and the assembled model rotates back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.teacher_class.basis import Basis
from keras_kd.teacher_class.representation import make_representation
from tests import toy
from tests.teacher_class.models import dense_teacher, ensemble, samples

X = samples(40)
PCA = {"split": "pca", "data": X}


def fitted(teacher, mimic="output"):
    representation = make_representation(teacher, "features", mimic)
    basis = Basis(representation.units)
    return representation, basis, basis.fit(*representation.covariance(X))


def exact_students(teacher, layer, model):
    """Students that reproduce their chunks of the components."""
    cut = keras.Model(teacher.inputs, teacher.get_layer(layer).output)
    students = []
    for chunk in model.chunks:
        copy = keras.models.clone_model(cut)
        copy.set_weights(cut.get_weights())
        if model.mimic == "preactivation":
            copy.get_layer(layer).activation = keras.activations.linear
        rotation = model.basis.rotation.numpy()[:, chunk]
        rotate = layers.Dense(len(chunk))
        inputs = keras.Input(teacher.input_shape[1:])
        students.append(keras.Model(inputs, rotate(copy(inputs))))
        rotate.set_weights([rotation, -model.basis.mean.numpy() @ rotation])
    return students


def test_components_are_uncorrelated_with_decreasing_variance_and_are_rotated_back():
    representation, basis, variances = fitted(dense_teacher("tanh"))
    values = representation(X)
    components = basis.rotate(values)
    np.testing.assert_allclose(np.mean(components, 0), 0, atol=1e-6)
    np.testing.assert_allclose(
        np.cov(components, rowvar=False, ddof=0), np.diag(variances), atol=1e-6
    )
    assert (np.diff(variances) <= 0).all()
    np.testing.assert_allclose(basis.restore(components), values, atol=1e-6)
    np.testing.assert_allclose(basis.restoring_layer()(components), values, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "mimic"), [("relu", "output"), ("tanh", "output"), ("tanh", "preactivation")]
)
def test_exact_students_have_no_loss_and_reproduce_the_teacher(activation, mimic):
    teacher = dense_teacher(activation)
    pca = {"split": "pca", "data": X, "n": 3, "mimic": mimic}
    students = exact_students(teacher, "features", ensemble(teacher=teacher, **pca))
    model = ensemble(students, teacher, task_weight=1.0, **pca)
    np.testing.assert_allclose(model.evaluate(X, verbose=0), 0, atol=1e-6)
    np.testing.assert_allclose(model.assemble()(X), teacher(X), atol=1e-5)
    arguments = (teacher, "features", [*students[:2], None], None, "pca", X, mimic)
    with pytest.warns(UserWarning, match=r"students \[2\] of 3 are missing"):
        partial = kd.TeacherClass.assemble_from(*arguments, head=None)
    components = model.basis.rotate(model.representation(X)).numpy()
    components[:, model.chunks[2]] = 0  # Their mean.
    expected = model.basis.restore(components)
    activation = model.representation.activation()
    expected = expected if activation is None else activation(expected)
    np.testing.assert_allclose(partial(X), expected, atol=1e-5)


def test_channels_of_a_map_are_rotated_at_each_position(tmp_path):
    teacher, x = toy.cnn("teacher", seed=1), toy.data()[0]
    build = lambda n: keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(n, 3)])  # noqa: E731
    pca = {"split": "pca", "data": x}
    model = kd.TeacherClass(teacher, "conv", build, n=2, **pca)
    students = exact_students(teacher, "conv", model)
    model = kd.TeacherClass(teacher, "conv", students, **pca)
    assembled = model.assemble()
    np.testing.assert_allclose(assembled(x), teacher(x), atol=1e-5)
    assembled.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(x), assembled(x))


def test_a_student_trained_alone_gets_the_weights_of_the_joint_fit():
    def run(only=None):
        model = ensemble(n=2, only=only, optimizer=keras.optimizers.SGD(1.0), **PCA)
        keras.utils.set_random_seed(9)
        model.fit(X, batch_size=20, epochs=3, verbose=0)
        return model

    joint, alone = run(), run(only=[1])
    for one, other in zip(joint.students[1].weights, alone.students[0].weights, strict=True):
        np.testing.assert_array_equal(one, other)
    teacher = dense_teacher()
    files = [joint.students[0], alone.students[0]]
    whole = kd.TeacherClass.assemble_from(
        teacher, "features", files, split="pca", data=X, mimic="output"
    )
    np.testing.assert_array_equal(whole(X), joint.assemble()(X))
    for wrong, data in ((files[::-1], X), (files, X[:20] ** 3)):
        with pytest.raises(ValueError, match="does not reproduce its principal components"):
            kd.TeacherClass.assemble_from(
                teacher, "features", wrong, split="pca", data=data, mimic="output"
            )
    with pytest.raises(ValueError, match="Pass the one of their training"):
        kd.TeacherClass.assemble_from(teacher, "features", files, split="pca", data=X)


def test_a_file_holds_the_basis_and_a_config_does_not(tmp_path):
    teacher = dense_teacher()
    model = ensemble(teacher=teacher, split="pca", data=X)
    model.fit(X, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    loaded.set_teacher(teacher)
    assert loaded.evaluate(X, verbose=0) == model.evaluate(X, verbose=0)
    np.testing.assert_array_equal(loaded.assemble()(X), model.assemble()(X))
    empty = kd.TeacherClass.from_config(model.get_config())
    empty.set_teacher(teacher)
    for run in (lambda: empty.fit(X), lambda: empty.evaluate(X), empty.assemble):
        with pytest.raises(ValueError, match="no principal components.*Load its weights"):
            run()


def test_a_cache_gives_the_basis_of_the_live_teacher(tmp_path):
    teacher = dense_teacher()
    options = {"dtype": "float32", "verbose": 0, "batch_size": 8}
    cache = kd.KnowledgeCache.build(teacher, X, tmp_path, ["features"], **options)
    joined = cache.join(tf.data.Dataset.from_tensor_slices(X).batch(8))
    cached = ensemble(teacher=cache.teachers[0], split="pca", data=joined)
    live = ensemble(teacher=teacher, split="pca", data=X)
    assert cached.chunks == live.chunks
    np.testing.assert_allclose(
        cached.evaluate(joined, verbose=0), live.evaluate(X, verbose=0), rtol=1e-4
    )


def test_data_without_components_are_rejected():
    with pytest.raises(ValueError, match="split='pca' needs samples.*data=None"):
        ensemble(split="pca")
    with pytest.raises(ValueError, match="found NaN or infinite values"):
        ensemble(split="pca", data=np.full((4, 6), np.nan, "float32"))
