"""Callbacks of tf_keras run in a Keras 3 training."""

import keras
import pytest
import tf_keras

from keras_kd.compression.tfmot.callbacks import TfKerasCallback, adapt_callbacks
from tests import toy
from tests.compression import runs


class RecordModel(tf_keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((type(self.model).__module__.split(".")[0], batch))


def test_they_get_the_tf_keras_model_set_the_rate_and_stop_the_training():
    rates = [0.1, 0.0, 0.0, 0.0]
    record = RecordModel()
    callbacks = [
        record,
        tf_keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch]),
        tf_keras.callbacks.EarlyStopping("loss", patience=1, min_delta=10.0),
    ]
    student = toy.cnn("student")
    arguments = {"epochs": 4, "optimizer": "sgd", "callbacks": callbacks}
    result = runs.prune(student, 0.0, engine="tfmot", **arguments)
    assert record.calls[:3] == [("tf_keras", 0), ("tf_keras", 1), ("tf_keras", 2)]
    assert len(result.history["loss"]) == 2


def test_callbacks_of_keras_stay_and_those_of_tf_keras_are_wrapped():
    ours, theirs = keras.callbacks.Callback(), tf_keras.callbacks.Callback()
    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3)])
    kept, wrapped = adapt_callbacks([ours, theirs], model)
    assert kept is ours
    assert isinstance(wrapped, TfKerasCallback)
    assert wrapped.callback is theirs
    assert adapt_callbacks(ours) == [ours]


@pytest.mark.parametrize("callbacks", [[3], tf_keras.callbacks.Callback()])
def test_other_objects_are_rejected(callbacks):
    with pytest.raises(TypeError, match="callbacks of keras, or of tf_keras if the student runs"):
        adapt_callbacks(callbacks)
