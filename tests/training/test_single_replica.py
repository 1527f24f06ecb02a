"""Where a step sees the whole batch, there is nothing to share."""

import keras
import numpy as np

from keras_kd.training import single_replica
from tests import toy


def test_a_mean_is_the_mean_of_the_whole_batch():
    value = keras.ops.convert_to_tensor(3.0)
    assert single_replica.replicas() == 1
    assert single_replica.replica_id() == 0
    assert single_replica.replica_share(8) == (None, 8)
    assert single_replica.per_replica(value) is value
    assert single_replica.per_replica(value, 0.5) is value
    assert single_replica.global_mean(value) is value
    x, cut = single_replica.fill_empty_replica(value)
    assert x is cut(x) is value


def test_there_is_no_strategy_and_one_worker():
    model = toy.mlp("model")
    single_replica.check_strategy(model)
    single_replica.synchronize_statistics([], None)
    assert single_replica.is_built_in_scope(model.variables)
    assert single_replica.get_strategy(model) is None
    assert single_replica.worker_index(None) is None
    assert single_replica.least_over_workers(None, 3) == 3
    assert single_replica.stack_logs({"loss": 1.0}) == {"loss": 1.0}
    with single_replica.strategy_scope(model):
        assert keras.Variable(1.0).shape == ()


def test_a_snapshot_restores_the_values():
    variable = keras.Variable(np.arange(3.0))
    snapshot = single_replica.VariableSnapshot([variable])
    variable.assign(np.zeros(3))
    snapshot.restore()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), np.arange(3.0))
