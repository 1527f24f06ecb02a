"""Scalars in variables: checked where they enter, exact, tracked."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.training.hyperparameters import (
    Hyperparameter,
    HyperparameterPaths,
    hyperparameter_holders,
    hyperparameters,
)
from tests import toy
from tests.distillers.models import distiller


def test_assigning_writes_into_the_same_variable():
    loss = kd.losses.SoftTargets(temperature=3.0)
    variable = loss.temperature
    loss.temperature = 0.1
    assert loss.temperature is variable
    assert float(variable) == 0.1  # float64: no digit is lost.


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), 10**400, "warm", None])
def test_a_value_out_of_range_is_rejected_and_the_old_one_stays(value):
    loss = kd.losses.SoftTargets(temperature=3.0)
    with pytest.raises(ValueError, match="SoftTargets: `temperature` must be a finite number"):
        loss.temperature = value
    assert float(loss.temperature) == 3.0


def test_the_bounds_of_a_range_are_valid_unless_exclusive():
    class Layer(keras.layers.Layer):
        rate = Hyperparameter(minimum=0.5, maximum=2)

    layer = Layer()
    for value in (0.5, 2):
        layer.rate = value
        assert float(layer.rate) == value
    with pytest.raises(ValueError, match=r"at least 0\.5 and at most 2\. Received: rate=2\.1"):
        layer.rate = 2.1
    assert isinstance(Layer.rate, Hyperparameter)


def test_they_are_listed_and_saved_with_the_object_and_never_trained():
    loss = kd.losses.SoftTargets(temperature=3.0, weight=0.5)
    assert list(hyperparameters(loss)) == ["weight", "temperature"]
    assert loss.trainable_variables == []
    np.testing.assert_array_equal([float(v) for v in loss.variables], [0.5, 3.0])


def test_mixed_precision_does_not_round_them():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        loss = kd.losses.SoftTargets(temperature=1 / 3)
        values = loss(np.eye(3, dtype="float16") * 9, np.ones((3, 3), "float16"))
    finally:
        keras.config.set_dtype_policy("float32")
    expected = kd.losses.SoftTargets(temperature=1 / 3)(np.eye(3) * 9, np.ones((3, 3)))
    assert values.dtype == "float32"
    np.testing.assert_allclose(values, expected, rtol=1e-6)


class Both(kd.losses.DistillationLoss):
    """A loss of one's own around two others."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.losses_within = [kd.losses.SoftTargets(2.0), kd.losses.DecoupledKD()]


def test_a_layer_has_the_hyperparameters_of_the_layers_within_it_except_hidden_ones():
    both = Both(weight=0.5)
    one, other = both.losses_within
    holders = hyperparameter_holders(both)
    assert holders == {
        "weight": [both],
        "temperature": [one, other],
        "alpha": [other],
        "beta": [other],
    }
    wrapper = kd.losses.LogitStandardization(kd.losses.LogitStandardization(one, weight=2.0))
    assert hyperparameter_holders(wrapper) == {"weight": [wrapper], "temperature": [one]}


def test_a_path_reaches_all_layers_within_that_have_the_hyperparameter(tmp_path):
    both = Both()
    model = distiller(losses=[both, kd.losses.SoftTargets(5.0)])
    assert list(model.hyperparameters)[:5] == ["student_loss_weight"] + [
        f"both.{name}" for name in ("weight", "temperature", "alpha", "beta")
    ]
    model.set_hyperparameter("both.temperature", 3.0)
    model.set_hyperparameter("both.beta", 2.0)
    assert [float(loss.temperature) for loss in both.losses_within] == [3, 3]
    model.save_weights(tmp_path / "state.weights.h5")
    again = distiller(losses=[Both(), kd.losses.SoftTargets()])
    again.load_weights(tmp_path / "state.weights.h5")
    expected = {path: float(value) for path, value in model.hyperparameters.items()}
    assert {path: float(value) for path, value in again.hyperparameters.items()} == expected
    assert [float(loss.temperature) for loss in again.distillation_losses[0].losses_within] == [
        3,
        3,
    ]


class Owner(HyperparameterPaths):
    def __init__(self):
        self.loss, self.other = kd.losses.SoftTargets(2.0), kd.losses.OutputsMSE()

    def hyperparameter_owners(self):
        return {"soft.": self.loss, "": self.other}


def test_paths_join_the_prefix_of_the_owner_and_the_name():
    owner = Owner()
    assert list(owner.hyperparameters) == ["soft.weight", "soft.temperature", "weight"]
    assert owner.hyperparameters["soft.temperature"] is owner.loss.temperature
    owner.set_hyperparameter("soft.temperature", 5)
    owner.set_hyperparameter("weight", 0.25)
    assert float(owner.loss.temperature) == 5
    assert [float(loss.weight) for loss in (owner.loss, owner.other)] == [1, 0.25]


def test_an_unknown_path_and_a_value_out_of_range_are_rejected():
    with pytest.raises(KeyError, match="no hyperparameter 'temperature'; there are .*soft.weight"):
        Owner().set_hyperparameter("temperature", 2)
    with pytest.raises(ValueError, match="SoftTargets: `temperature`.*greater than 0"):
        Owner().set_hyperparameter("soft.temperature", 0)


@pytest.mark.slow
def test_a_changed_value_changes_the_next_compiled_step():
    (x, y), loss = toy.vectors(), kd.losses.SoftTargets(1.0)
    model = distiller(losses=loss, rate=0.0, eager=False)

    def step():
        logs = model.fit(x, y, batch_size=32, verbose=0).history
        return logs["soft_targets"][0], logs["loss"][0] - 0.5 * logs["student_loss"][0]

    function = model.make_train_function() or model.train_function
    cold, _ = step()
    model.set_hyperparameter("soft_targets.temperature", 3.0)
    warm, weighted = step()
    expected = np.mean(loss(model.teachers[0].model(x), model.student(x)))
    np.testing.assert_allclose(warm, expected, rtol=1e-5)
    assert cold != warm
    loss.weight = 10.0
    np.testing.assert_allclose(step()[1], 10 * weighted, rtol=1e-4)
    assert model.train_function is function
