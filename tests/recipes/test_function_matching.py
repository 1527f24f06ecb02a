import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy

X, Y = toy.data(8)


def models():
    return toy.cnn("student"), toy.cnn("teacher", 6, seed=1)


@pytest.mark.parametrize(
    ("mixing", "layer"), [("mixup", layers.MixUp), ("cutmix", layers.CutMix), (None, None)]
)
def test_teacher_and_student_get_the_same_mixed_images(mixing, layer):
    student, teacher = models()
    student.get_layer("norm").trainable = False
    model = kd.function_matching(
        student, teacher, layers.Rescaling(0.5), mixing, kd.losses.SoftTargets(2.0), seed=3
    )
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.fit(X, batch_size=8, shuffle=False, verbose=0).history
    view = layer(1.0, seed=3)(0.5 * X, training=True) if layer else 0.5 * X
    expected = np.mean(kd.losses.SoftTargets(2.0)(teacher(view), student(view)))
    np.testing.assert_allclose(logs["soft_targets"], [expected], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], [expected], rtol=1e-5)


def test_labels_are_refused_with_mixed_images():
    model = kd.Distiller(*models(), augment=[layers.RandomFlip(), layers.CutMix()])
    with pytest.raises(ValueError, match=r"no label belongs to a mixed image.*Received: .*CutMix"):
        model.compile("sgd", toy.sparse_loss())
    model.compile("sgd")  # Without labels.
    matching = kd.function_matching(*models())
    matching.compile("sgd", toy.sparse_loss())  # Their weight is 0.
    with pytest.raises(ValueError, match="no label belongs to a mixed image"):
        kd.function_matching(*models(), student_loss_weight=0.5).compile("sgd", toy.sparse_loss())


def test_labels_count_without_mixing():
    model = kd.function_matching(*models(), mixing=None, student_loss_weight=0.5)
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=True)
    logs = model.fit(X, Y, batch_size=8, verbose=0).history
    total = 0.5 * logs["student_loss"][0] + logs["soft_targets"][0]
    np.testing.assert_allclose(logs["loss"], [total], rtol=1e-6)


@pytest.mark.parametrize(
    ("student", "mixing", "sentence"),
    [
        (toy.cnn, "blend", r"one of \['mixup', 'cutmix'\] or None. Received: mixing='blend'"),
        (toy.mlp, "mixup", r"Pass mixing=None. Received: .*inputs of shape \[\(None, 5\)\]"),
    ],
)
def test_invalid_arguments_are_refused(student, mixing, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.function_matching(student("student"), student("teacher"), mixing=mixing)


def test_a_function_as_augmentation_is_refused():
    with pytest.raises(TypeError, match="must be a Keras layer or a list of layers. Received: "):
        kd.function_matching(*models(), augment=np.negative)


def test_mixed_images_for_the_student_alone_are_refused():
    with pytest.raises(ValueError, match=r"not one for a mixture.*Received: .*same_view=False"):
        kd.function_matching(*models(), same_view=False)
