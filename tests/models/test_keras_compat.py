"""Each use of a Keras internal, compared with the public behavior."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.models import keras_compat
from tests import toy


class TwoOutputs(keras_compat.CompatModel):
    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(2), layers.Dense(1)

    def call(self, x):
        return {"a": self.a(x), "b": self.b(x)}


def test_a_mask_that_is_set_reaches_the_next_layer():
    """Remove `get_mask` and `set_mask` when Keras has public functions for the mask of a tensor."""
    x, mask = keras.ops.ones((2, 3, 4)), np.array([[True, True, False], [True, False, False]])
    assert keras_compat.get_mask(x) is None
    pooled = layers.GlobalAveragePooling1D()(keras_compat.set_mask(x + np.eye(3, 4), mask))
    expected = layers.GlobalAveragePooling1D()(x + np.eye(3, 4), mask=mask)
    np.testing.assert_array_equal(pooled, expected)
    copied = keras_compat.copy_mask(x, keras.ops.ones(3))
    assert keras_compat.get_mask(copied) is None
    masked = keras_compat.set_mask(keras.ops.ones((2, 3)), mask)
    assert keras_compat.get_mask(keras_compat.copy_mask(masked, copied)) is mask
    assert keras_compat.get_mask(keras_compat.detach(masked)) is mask
    assert keras_compat.get_mask(keras_compat.without_mask(masked)) is None
    embedded = layers.Embedding(5, 2, mask_zero=True)(np.array([[1, 0]]))
    np.testing.assert_array_equal(keras_compat.get_mask(embedded), [[True, False]])


def test_the_maker_of_a_symbolic_tensor_is_found():
    """Remove `made_by` when Keras tells in public which layer made a tensor."""
    inputs = keras.Input((2,))
    add = layers.Add()
    assert keras_compat.made_by(add([inputs, inputs])) == (add, [inputs, inputs])
    assert keras_compat.made_by(inputs)[1] == []
    assert keras_compat.made_by(keras.KerasTensor((2,))) == (None, [])


def test_nested_layers_contain_those_inside_other_layers():
    """Remove `nested_layers` when Keras lists the layers of a model at all levels in public."""
    inner = toy.mlp("inner")
    inputs = keras.Input((5,))
    wrapper = layers.TimeDistributed(layers.Dense(2, name="wrapped"))
    outputs = wrapper(layers.Reshape((2, 2))(inner(inputs)))
    model = keras.Model(inputs, outputs)
    found = {layer.name for layer in keras_compat.nested_layers(model)}
    assert {model.name, "inner", "hidden", "head", wrapper.name, "wrapped"} <= found
    without = keras_compat.nested_layers(model, include_self=False)
    assert {layer.name for layer in without} == found - {model.name}


def test_the_graph_of_a_sequential_model_is_that_which_it_runs():
    """Keep `functional_of` until Keras has a public name for it."""
    model = toy.mlp("model")
    graph, x = keras_compat.functional_of(model), np.ones((2, 5), "float32")
    np.testing.assert_array_equal(graph(x), model(x))
    model.add(layers.Dense(3))
    assert keras_compat.functional_of(model).output.shape == (None, 3)
    assert keras_compat.functional_of(graph) is graph


def test_running_a_graph_calls_every_layer_as_the_model_does():
    """Remove `run_graph` when Keras can run a Functional model with another call per node."""
    model, (x, _) = toy.cnn("model"), toy.data(4)
    called = []

    def call(layer, *args, **kwargs):
        called.append(layer.name)
        return layer(*args, **kwargs)

    outputs = keras_compat.run_graph(model, keras.ops.convert_to_tensor(x), call)
    assert called == [layer.name for layer in model.layers[1:]]
    np.testing.assert_array_equal(outputs, model(x))


def test_the_mean_of_the_metric_values_is_the_metric():
    """Remove `metric_values` when a metric that is a mean returns its values per sample."""
    y, outputs = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], "float32")
    for metric in (
        keras.metrics.SparseCategoricalAccuracy(),
        keras.metrics.SparseCategoricalCrossentropy(),
    ):
        values = keras_compat.metric_values(metric, y, outputs)
        np.testing.assert_allclose(np.mean(values), metric(y, outputs), rtol=1e-6)


def test_the_function_of_a_metric_gives_its_values():
    """Remove `metric_function` when a metric that is a mean names its function in public."""
    metric = keras.metrics.BinaryCrossentropy(from_logits=True, label_smoothing=0.1)
    function, arguments = keras_compat.metric_function(metric)
    assert function is keras.losses.binary_crossentropy
    assert arguments == {"from_logits": True, "label_smoothing": 0.1}


@pytest.mark.parametrize("form", [dict, list])
def test_losses_are_listed_per_output_with_its_weight_and_tracker(form):
    """Remove `losses_per_output` when Keras lists the compiled losses by output in public."""
    losses, weights = {"a": "mse", "b": "mae"}, {"a": 1.0, "b": 0.5}
    if form is list:
        losses, weights = list(losses.values()), list(weights.values())
    inputs = keras.Input((3,))
    outputs = {"a": layers.Dense(2, name="a")(inputs), "b": layers.Dense(1, name="b")(inputs)}
    model = keras.Model(inputs, outputs if form is dict else list(outputs.values()))
    model.compile(loss=losses, loss_weights=weights)
    y_pred, y = model(np.ones((4, 3))), {"a": np.zeros((4, 2)), "b": np.ones((4, 1))}
    y = y if form is dict else list(y.values())
    rows = keras_compat.losses_per_output(model._compile_loss, y, y_pred)
    found = [(weight, tracker.name) for _, weight, tracker, _ in rows]
    assert found == [(1.0, "a_loss"), (0.5, "b_loss")]
    labels = y.values() if form is dict else y
    total = sum(w * loss(t, p) for (loss, w, _, p), t in zip(rows, labels, strict=True))
    np.testing.assert_allclose(total, model._compile_loss(y, y_pred), rtol=1e-6)


def test_the_loss_of_a_single_output_has_no_tracker():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile(loss="mse")
    y_pred = model(np.ones((4, 3)))
    ((loss, weight, tracker, prediction),) = keras_compat.losses_per_output(
        model._compile_loss, np.zeros((4, 2)), y_pred
    )
    assert weight is tracker is None
    assert prediction is y_pred
    assert loss.fn is keras.losses.mean_squared_error


def test_metrics_are_listed_per_output_with_its_labels():
    """Remove `metrics_per_output` when Keras lists the compiled metrics by output in public."""
    model = TwoOutputs()
    model.compile(loss="mse", metrics={"a": ["mae"]}, weighted_metrics={"b": ["mse"]})
    x, y = np.ones((4, 3)), {"a": np.zeros((4, 2)), "b": np.ones((4, 1))}
    model.evaluate(x, y, verbose=0)
    rows = keras_compat.metrics_per_output(model.compiled_metrics_fn, y, model(x))
    names = [[[metric.name for metric in kind] for kind in row[:2]] for row in rows]
    assert names == [[["mae"], []], [[], ["mse"]]]
    for (_, _, labels, prediction), output in zip(rows, "ab", strict=True):
        np.testing.assert_array_equal(labels, y[output])
        assert prediction.shape == y[output].shape


def test_a_second_compile_forgets_loss_and_metrics_of_the_first():
    """Remove the two lines in `CompatModel.compile` when the plain model forgets them too."""
    model, plain = TwoOutputs(), keras.Sequential([layers.Dense(1)])
    for each in (model, plain):
        each.compile(loss="mse", metrics=["mae"])
        each.compile()
    assert model.compiled_loss_fn is None
    assert model.compiled_metrics_fn is None
    assert plain._compile_loss is not None
    assert plain._compile_metrics is not None


def test_the_compiled_loss_and_metrics_are_those_of_the_model():
    """Remove `compiled_loss_fn` and `compiled_metrics_fn` when Keras has public properties."""
    model = TwoOutputs()
    model.compile(loss={"a": "mse", "b": "mae"}, metrics={"a": ["mae"]})
    x, y = np.ones((4, 3)), {"a": np.zeros((4, 2)), "b": np.ones((4, 1))}
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    outputs, metrics = model(x), model.compiled_metrics_fn
    np.testing.assert_allclose(model.compiled_loss_fn(y, outputs), expected["loss"], rtol=1e-6)
    metrics.reset_state()
    metrics.update_state(y, outputs)
    assert metrics.result() == {"a_mae": expected["a_mae"]}


@keras.saving.register_keras_serializable("test_keras_compat")
class Compat(keras_compat.CompatModel):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = layers.Dense(1)

    def call(self, x):
        return self.head(x)


@keras.saving.register_keras_serializable("test_keras_compat")
class Plain(keras.Model):
    """A model whose class overrides `compile`, as that of a distiller does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = layers.Dense(1)

    def call(self, x):
        return self.head(x)

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)


@pytest.mark.filterwarnings("ignore:.*compile")
def test_a_loaded_model_is_compiled_and_has_the_state_of_its_optimizer(tmp_path):
    """Remove `compile_from_config` when the plain model is compiled after loading too."""
    x, y, loaded = np.ones((4, 3)), np.zeros((4, 1)), []
    for kind in (Compat, Plain):
        model = kind()
        model.compile("adam", "mse", run_eagerly=True)
        model.fit(x, y, batch_size=2, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded.append(keras.models.load_model(tmp_path / "model.keras"))
    compat, plain = loaded
    assert int(compat.optimizer.iterations) == 2
    assert getattr(plain, "optimizer", None) is None


def test_the_history_has_the_results_of_the_metrics_and_not_the_logs_of_the_last_step():
    """Remove `_get_metrics_result_or_logs` when Keras weights the logs of replicas by samples."""

    class Steps(Compat):
        def train_step(self, data):
            return {**super().train_step(data), "extra": 1.0, "mae": -1.0}

    model, (x, y) = Steps(), (np.ones((4, 3)), np.arange(4.0)[:, None])
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"], run_eagerly=True)
    history = model.fit(x, y, batch_size=2, verbose=0).history
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert history["extra"] == [1.0]
    np.testing.assert_allclose(history["mae"][0], expected["mae"], rtol=1e-6)


def test_symbolic_building_on_one_device_is_that_of_keras():
    """Remove `_maybe_symbolic_build` when a plain model trains on several workers.

    `tests/training/test_distribution_workers.py` has the run on workers that shows it.
    """
    seen = []

    class Traced(Compat):
        def call(self, x):
            seen.append(x.shape)
            return super().call(x)

    model = Traced()
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.ones((4, 3)), np.ones((4, 1)), batch_size=2, verbose=0)
    assert model.head.built
    assert {shape[1:] for shape in seen} == {(3,)}


def test_variables_have_their_own_values_outside_a_stateless_scope():
    """Remove `outside_stateless_scope` when Keras can leave a `StatelessScope` in public."""
    variable = keras.Variable(1.0)
    with keras.StatelessScope([(variable, 2.0)]) as scope:
        variable.assign(3.0)
        with keras_compat.outside_stateless_scope():
            assert float(variable.value) == 1.0
        assert float(variable.value) == 3.0
    assert float(scope.get_current_value(variable)) == 3.0


def test_the_logits_of_masked_positions_can_be_set():
    """Remove `masked_logit` when an argument of Keras sets what masked logits are."""
    attention = keras.layers.MultiHeadAttention(1, 2)
    x = np.random.default_rng(0).normal(size=(1, 3, 2)).astype("float32")

    def run():
        # Keras computes the outputs in another way if it returns the scores too.
        arguments = {"attention_mask": np.array([[[True, True, False]]])}
        outputs = attention(x, x, **arguments)
        scores = attention(x, x, return_attention_scores=True, **arguments)[1]
        return np.asarray(outputs), np.sum(scores, -1)

    outputs, total = run()
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    with keras_compat.masked_logit(0.0):
        other, part = run()
    assert np.all(part < 0.9)  # The scores of masked positions are set to 0 afterwards.
    assert np.abs(other - outputs).min() > 1e-3
    np.testing.assert_array_equal(run()[0], outputs)


@pytest.mark.parametrize("kind", [layers.Attention, layers.AdditiveAttention])
def test_masked_logits_of_an_attention_without_heads_are_set(kind):
    attention, x = kind(use_scale=False), np.ones((1, 3, 2), "float32")

    def scores(mask, **arguments):
        arguments |= {"mask": [None, np.array(mask)], "return_attention_scores": True}
        return np.asarray(attention([x, x], **arguments)[1])[0]

    columns = [[True, True, False]]
    np.testing.assert_array_equal(scores(columns)[0], [0.5, 0.5, 0.0])
    with keras_compat.masked_logit(0.0):
        logit = 2.0 if kind is layers.Attention else 2 * np.tanh(2.0)
        expected = np.exp([logit, logit, 0.0])
        np.testing.assert_allclose(scores(columns)[0], expected / expected.sum(), rtol=1e-6)
        causal = scores(columns, use_causal_mask=True)
        expected = np.exp([logit, 0.0, 0.0])
        np.testing.assert_allclose(causal[0], expected / expected.sum(), rtol=1e-6)
    np.testing.assert_array_equal(scores(columns)[0], [0.5, 0.5, 0.0])


def test_the_message_of_an_error_in_a_layer_is_found():
    """Remove `unwrap_message` when Keras keeps the message of an error that a layer raises."""

    class Failing(layers.Layer):
        def call(self, x):
            raise ValueError("two\nlines")

    layer = Failing()
    with pytest.raises(ValueError, match="Exception encountered") as raised:
        layer(keras.ops.ones((2, 3)))
    assert keras_compat.unwrap_message(raised.value) == "two\nlines"
    indented = ValueError("in user code:\n\n    " + str(raised.value).replace("\n", "\n    "))
    assert keras_compat.unwrap_message(indented) == "two\n    lines"
    assert keras_compat.unwrap_message(ValueError("two\nlines")) == "two\nlines"


def test_batches_are_read_as_keras_reads_a_generator():
    """Remove `BatchAdapter` when Keras reads an iterable of batches once per epoch."""

    class Batches(keras_compat.BatchAdapter):
        num_batches = 2

        def __iter__(self):
            yield (np.ones((2, 5)), np.zeros(2, int))
            yield (np.zeros((1, 5)), np.ones(1, int))

        def get_tf_dataset(self):
            import tensorflow as tf

            one = tf.data.Dataset.from_tensor_slices(next(self.get_numpy_iterator())).batch(2)
            return one.concatenate(tf.data.Dataset.from_tensor_slices(list(self)[1]).batch(2))

    weights = []
    twice = (batch for batch in [*Batches(), *Batches()])
    for data, steps in ((twice, 2), (Batches(), None)):
        model = toy.mlp("model")
        model.compile("sgd", toy.sparse_loss())
        model.fit(data, epochs=2, steps_per_epoch=steps, verbose=0, shuffle=False)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_loaders_are_loaders():
    """Remove `is_loader` and `loader_length` when Keras tells in public which data `fit` takes."""
    torch_like = type("DataLoader", (), {"__module__": "torch.utils.data.dataloader"})()
    grain_like = type("MapDataset", (), {"__module__": "grain._src.python.dataset"})()
    assert keras_compat.is_loader(torch_like)
    assert keras_compat.is_loader(grain_like)
    assert keras_compat.loader_length(grain_like) is None
    for other in (np.ones(3), [np.ones(3)], toy.Batches((np.ones(3),), 1), None):
        assert not keras_compat.is_loader(other)


def test_names_are_numbered_from_the_start_and_then_go_on():
    """Remove `fresh_names` when Keras can number names anew in public."""
    first = keras.layers.Dense(1).name
    with keras_compat.fresh_names():
        assert [keras.layers.Dense(1).name for _ in range(2)] == ["dense", "dense_1"]
    assert keras.layers.Dense(1).name not in (first, "dense")
