"""Mixed images: no label of the batch belongs to one of them."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.distillers.mixed_images import check_labels_kept, check_mixing, labels_of_view
from keras_kd.training.labels import Labels
from tests import toy

X, Y = toy.data(8)
REFUSED = "Distiller: .*no label belongs to a mixed image.*Received: augment with MixUp"


def mixing(weight=0.0, loss=None, teachers=1, **kwargs):
    student = toy.cnn("student")
    student.get_layer("norm").trainable = False
    made = [toy.cnn(f"teacher{i}", 6, seed=i + 1) for i in range(teachers)]
    augment = kwargs.pop("augment", layers.MixUp(seed=3))
    losses = kwargs.pop("losses", "soft_targets")
    model = kd.Distiller(student, made, losses, weight, augment=augment, **kwargs)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    return model


def fit(model, *data, **kwargs):
    return model.fit(*data, **{"batch_size": 8, "shuffle": False, "verbose": 0, **kwargs}).history


def test_a_weight_of_the_labels_is_refused_when_it_is_raised():
    model = mixing(loss=toy.sparse_loss())
    with pytest.raises(ValueError, match=REFUSED):
        model.student_loss_weight = 0.5
    assert float(model.student_loss_weight) == 0.0
    schedule = kd.callbacks.LossWeightScheduler(lambda epoch: epoch / 2, loss="student_loss")
    with pytest.raises(ValueError, match=REFUSED):
        fit(model, X, Y, epochs=2, callbacks=[schedule])


def test_a_weight_may_be_raised_without_mixing_or_without_a_loss():
    for model in (mixing(), mixing(loss=toy.sparse_loss(), augment=None)):
        model.student_loss_weight = 0.5
        assert float(model.student_loss_weight) == 0.5


def test_losses_that_need_labels_are_refused():
    with pytest.raises(ValueError, match=r"\['decoupled_kd'\] need labels.*augment with MixUp"):
        mixing(losses=["soft_targets", "decoupled_kd"])


def test_the_labels_of_mixed_images_weight_no_teacher_and_no_class():
    histories = [
        fit(mixing(teachers=2, weighting=kd.weighting.CrossEntropy()), *data)
        for data in ((X,), (X, Y))
    ]
    assert histories[0]["soft_targets"] == histories[1]["soft_targets"]
    with pytest.raises(ValueError, match="`class_weight` needs labels"):
        fit(mixing(), X, Y, class_weight={0: 2.0})


def test_labels_are_kept_unless_the_view_mixes_images():
    labels = Labels(Y, {})
    for augment in (None, layers.RandomFlip(), np.negative):
        check_labels_kept(augment, "Distiller")
        assert labels_of_view(augment, labels) is labels
    assert labels_of_view(layers.CutMix(), labels).given is None


def test_mixing_inside_other_layers_is_found():
    augment = keras.Sequential([layers.RandomFlip(), keras.Sequential([layers.MixUp()])])
    with pytest.raises(ValueError, match=REFUSED):
        check_labels_kept(augment, "Distiller")


def test_mixed_images_for_the_student_alone_are_refused():
    sentence = "not one for a mixture.*Received: augment with MixUp, same_view=False"
    with pytest.raises(ValueError, match=sentence):
        check_mixing(layers.MixUp(), False, (), "Distiller")
    with pytest.raises(ValueError, match=sentence):
        kd.SelfDistiller(toy.cnn("student"), decay=0.9, augment=layers.MixUp())
