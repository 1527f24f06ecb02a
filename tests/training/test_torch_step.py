"""One forward pass, one backward pass and one update on PyTorch."""
# ruff: noqa: E402

import keras
import numpy as np
import pytest
from keras import ops

torch = pytest.importorskip("torch")
if keras.config.backend() != "torch":
    pytest.skip("the step of PyTorch", allow_module_level=True)

import keras_kd as kd
from keras_kd.training import torch_step
from tests import toy
from tests.distillers.bad_batches import MARK, assert_equal, batches, distiller, with_bad
from tests.distillers.models import distiller as small_distiller


def scaled_adam():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=8.0)


@pytest.mark.parametrize("optimizer", [lambda: keras.optimizers.Adam(0.1), scaled_adam])
def test_a_gradient_step_equals_a_step_of_keras(optimizer):
    (x, y), weights = toy.data(8), []
    for own in (True, False):
        model = toy.cnn("model")
        model.compile(optimizer(), toy.sparse_loss())
        model.optimizer.build(model.trainable_variables)
        model.weight_rule = None
        if not own:
            model.train_on_batch(x, y)
        else:
            inputs, labels = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
            torch_step.gradient_step(
                model,
                inputs,
                lambda x, cut, model=model, labels=labels: (
                    outputs := cut(model(x, training=True)),
                    toy.sparse_loss()(labels, outputs),
                ),
            )
        weights.append(model.get_weights())
    assert_equal(*weights)


class Pair(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.used, self.unused = (self.add_weight(initializer="ones") for _ in range(2))
        self.optimizer = keras.optimizers.SGD(0.5)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_variable_without_a_gradient_is_not_updated():
    pair = Pair()
    outputs, loss = torch_step.update_variables(pair, lambda: ("outputs", 2.0 * pair.used))
    assert (outputs, float(loss)) == ("outputs", 2.0)
    assert [float(variable) for variable in (pair.used, pair.unused)] == [0.0, 1.0]


def test_a_failed_requirement_prevents_the_update():
    pair = Pair()
    with pytest.raises(ValueError, match="failed"):
        torch_step.update_variables(
            pair,
            lambda: (None, 2.0 * pair.used),
            lambda loss: torch_step.assertion(False, "failed"),
        )
    assert float(pair.used) == 1.0


def test_the_teachers_keep_no_graph_for_gradients():
    model, seen = small_distiller(), []
    teacher = model.teachers[0].model.layers[-1]
    call = teacher.call

    def record(*args, **kwargs):
        outputs = call(*args, **kwargs)
        seen.append(outputs.requires_grad)
        return outputs

    teacher.call = record
    model.train_on_batch(*toy.vectors(8))
    assert seen == [False]
    assert all(variable.value.grad is None for variable in model.trainable_variables)


def test_only_a_value_that_is_not_finite_is_a_bad_batch():
    torch_step.finite_assertions({"fine": [ops.ones(2), ops.ones(2, "int32"), "text", None]})
    with pytest.raises(ValueError, match="bad") as bad:
        torch_step.finite_assertions({"fine": ops.ones(2), "bad": ops.log(ops.zeros(2))})
    with pytest.raises(ValueError, match="other") as other:
        torch_step.assertion(False, "other")
    assert torch_step.is_bad_batch(bad.value)
    assert not torch_step.is_bad_batch(other.value)
    here = torch_step.readable_errors(lambda: "here")
    with pytest.raises(ValueError, match=r"^other This was here\.$"), here:
        raise other.value


def test_values_count_only_if_the_loss_is_not_finite():
    nan = ops.convert_to_tensor(np.nan)
    torch_step.check_if_not_finite(ops.ones(()), lambda: {"bad": nan})
    torch_step.check_if_not_finite(nan, lambda: {"bad": ops.ones(2)})
    with pytest.raises(ValueError, match="bad"):
        torch_step.check_if_not_finite(nan, lambda: {"bad": nan})


@pytest.mark.parametrize("part", ["x", "weights", "teacher"])
def test_a_bad_batch_is_named_or_skipped(part):
    bad = with_bad("x", MARK) if part == "teacher" else with_bad(part, np.nan)
    with pytest.raises(ValueError, match=r"NaN or .*\. This was in batch 3 of epoch 1\.$"):
        distiller().fit(batches(*bad), shuffle=False, verbose=0)
    found, expected = distiller("skip"), distiller()
    history = found.fit(batches(*bad), shuffle=False, verbose=0).history
    assert history["skipped_batches"] == [1]
    good = (np.concatenate([p[:16], p[24:]]) for p in bad)
    expected.fit(batches(*good), shuffle=False, verbose=0)
    assert_equal(found.get_weights(), expected.get_weights())


def test_the_noise_of_a_distiller_is_used():
    noise = kd.noise.LogitNoise(0.5, seed=1)
    model = small_distiller(noise=noise)
    assert model.objective.noise is noise
    assert "noise.stddev" in model.hyperparameters
    before = ops.convert_to_numpy(noise.seed_state).copy()
    model.train_on_batch(*toy.vectors(8))
    assert (ops.convert_to_numpy(noise.seed_state) != before).any()
