"""Callbacks of a compression: values for the history, and the weights of the best epoch."""

import keras
import pytest

from keras_kd.compression.callbacks import KeepBest, LogAtEpochEnd


def test_values_are_added_to_the_logs():
    logs = {"loss": 1.0}
    LogAtEpochEnd(lambda: {"sparsity": 0.5}).on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "sparsity": 0.5}


def run_epochs(callback, variable, entry, values):
    """Set the variable to the number of each epoch and run the callback."""
    for epoch, value in enumerate(values):
        variable.assign(epoch)
        callback.on_epoch_end(epoch, {"loss": 0.0, entry: value})
    callback.on_train_end()
    return int(variable)


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [("val_loss", [3.0, 1.0, 2.0, 1.0], 1), ("accuracy", [0.3, 0.1, 0.5, 0.5], 2)],
)
def test_the_first_best_epoch_is_restored(monitor, values, best):
    variable = keras.Variable(0.0)
    callback = KeepBest([variable], monitor, lambda: True)
    assert run_epochs(callback, variable, monitor, values) == best


def test_epochs_that_are_not_ready_do_not_count():
    variable = keras.Variable(0.0)
    callback = KeepBest([variable], "loss", lambda: int(variable) >= 2)
    assert run_epochs(callback, variable, "loss", [1.0, 2.0, 4.0, 3.0]) == 3


def test_the_last_weights_stay_if_no_epoch_is_ready():
    variable = keras.Variable(0.0)
    callback = KeepBest([variable], "loss", lambda: False)
    assert run_epochs(callback, variable, "loss", [1.0, 2.0]) == 1


def test_an_epoch_without_data_does_not_count():
    callback = KeepBest([], "val_loss", lambda: True)
    callback.on_epoch_end(1, {"sparsity": 0.5})
    assert callback.weights is None


def test_an_unknown_entry_is_rejected():
    callback = KeepBest([], "val_loss", lambda: True)
    with pytest.raises(ValueError, match=r"must be an entry of the history: \['loss'\].*val_loss"):
        callback.on_epoch_end(0, {"loss": 1.0})
