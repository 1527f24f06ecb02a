"""Whole epochs of a model's training step on the device, compiled once for all seeds.

The state of a model, `(trainable, non-trainable, optimizer, metrics)` values, goes through
`lax.scan` over the steps of an epoch and over the epochs. Whatever changes with the epoch, such as
the learning rate, is a variable in that state and is written at the start of each epoch; so the
number of epochs is an argument too, and one compiled program serves every length of training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import keras

import keras_kd as kd
from benchmarks.gpu.images import VIEWS, normalize, take_views
from benchmarks.gpu.networks import CLASSES, build
from benchmarks.gpu.optimizer import TorchSGD

#: The recipe of RepDistiller: 240 epochs, of which the learning rate drops after these.
LENGTH, DROPS = 240, (150, 180, 210)
RATE_OF_64 = 0.05


@dataclass(frozen=True)
class Recipe:
    """Settings that all trainings share.

    Args:
        samples: Number of training images.
        batch: Samples in a step. The learning rate is 0.05 for 64 and grows in proportion.
        chunk: Epochs of one execution, the unit of every training's length.
    """

    samples: int
    batch: int = 128
    chunk: int = 10

    @property
    def steps(self):
        """Steps of an epoch; the remaining samples, others in each epoch, are dropped."""
        return self.samples // self.batch

    @property
    def rate(self):
        """The first learning rate."""
        return RATE_OF_64 * self.batch / 64

    def learning_rate(self, epoch, epochs):
        """Return the learning rate of an epoch, dropped after 150, 180 and 210 of 240."""
        drops = jnp.round(jnp.array(DROPS) * epochs / LENGTH)
        return self.rate * 0.1 ** jnp.sum(epoch >= drops)


def warmup(epoch, epochs):
    """Return the factor of decoupled distillation: it grows during the first 20 of 240 epochs."""
    return jnp.minimum((epoch + 1) / jnp.maximum(1, 20 * epochs / LENGTH), 1.0)


class Training:
    """Epochs of the training step of a network, or of a distiller whose student it is.

    Args:
        model: The model to train; it is compiled here.
        network: The network in it, a result of `build`, which starts anew with each seed.
        recipe: The settings.
        inputs: Function of the images and the looked-up logits of the teachers that returns the
            model's inputs. Defaults to the images alone.
        by_epoch: Pairs of a variable of the model and a function of `(epoch, epochs)` that returns
            its value in an epoch. Defaults to none.
    """

    def __init__(
        self,
        model: keras.Model,
        network: keras.Model,
        recipe: Recipe,
        inputs: Callable = lambda x, logits: x,
        by_epoch: tuple = (),
    ):
        self.model, self.network, self.recipe, self.inputs = model, network, recipe, inputs
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(TorchSGD(recipe.rate), loss)
        self.variables = state_variables(model)
        rate = (model.optimizer.learning_rate, recipe.learning_rate)
        self.by_epoch = [(self._place(v), function) for v, function in (rate, *by_epoch)]
        self.run = jax.jit(self._run, donate_argnums=0)

    def initial_state(self, seed):
        """Return the state before the first step, with the network's weights of a seed."""
        fresh = build(self.network.name, seed)
        pairs = zip(self.network.variables, fresh.variables, strict=True)
        initial = {id(variable): start for variable, start in pairs}
        return [
            [jnp.array(initial.get(id(v), v).value, copy=True) for v in group]
            for group in self.variables
        ]

    def weights(self, state):
        """Return the trainable and the non-trainable values of the network in a state."""
        values = {
            id(variable): value
            for group, members in zip(state, self.variables, strict=True)
            for value, variable in zip(group, members, strict=True)
        }
        return [[values[id(variable)] for variable in group] for group in groups_of(self.network)]

    def arguments(self, images, tables, seed, epochs):
        """Return the arguments of `run` for the first chunk of a training."""
        return self._arguments(self.initial_state(seed), images, tables, seed, epochs)

    def shapes(self, images, tables):
        """Return arguments of the same shapes, without weights of a seed.

        Args:
            images: The data.
            tables: Number of tables.
        """
        table = jax.ShapeDtypeStruct((VIEWS, images.count, CLASSES), jnp.float32)
        return self._arguments(values_of(self.variables), images, [table] * tables, 0, LENGTH)

    def _arguments(self, state, images, tables, seed, epochs):
        key, first = jax.random.key(seed), jnp.int32(0)
        return state, images.x, images.y, tuple(tables), key, first, jnp.int32(epochs)

    def _place(self, variable):
        for group, members in enumerate(self.variables):
            for i, member in enumerate(members):
                if member is variable:
                    return group, i
        raise ValueError(f"'{variable.path}' is not in the state of '{self.model.name}'.")

    def _run(self, state, x, y, tables, key, first, epochs):
        """Train for one chunk of epochs; return the state and the mean loss of each epoch."""

        def step(state, drawn):
            ids, views = drawn
            logits = [table[views, ids] for table in tables]
            data = (self.inputs(take_views(x, ids, views), logits), y[ids])
            logs, state = self.model.train_step(tuple(state), data)
            return list(state), logs["loss"]

        def epoch(state, number):
            state = [list(group) for group in state]
            for (group, i), function in self.by_epoch:
                value = function(number, epochs)
                state[group][i] = value.astype(state[group][i].dtype)
            state[3] = [jnp.zeros_like(value) for value in state[3]]  # Means over the epoch.
            state, losses = jax.lax.scan(step, state, self._draw(jax.random.fold_in(key, number)))
            return state, losses[-1]

        return jax.lax.scan(epoch, state, first + jnp.arange(self.recipe.chunk))

    def _draw(self, key):
        """Return the samples and the views of each step of an epoch, both (steps, batch)."""
        order, views = jax.random.split(key)
        shape = (self.recipe.steps, self.recipe.batch)
        ids = jax.random.permutation(order, self.recipe.samples)[: shape[0] * shape[1]]
        return ids.reshape(shape), jax.random.randint(views, shape, 0, VIEWS)


def state_variables(model):
    """Return the variables of the state that `train_step` takes, in its order."""
    model.optimizer.build(model.trainable_variables)
    # The weights of teachers and the hyperparameters; otherwise they are constants of the program.
    read_only = model.read_only_variables if isinstance(model, kd.Distiller) else []
    return [
        model.trainable_variables,
        [*model.non_trainable_variables, *read_only],
        model.optimizer.variables,
        model.metrics_variables,
    ]


def groups_of(network):
    """Return the trainable and the non-trainable variables of a network."""
    return network.trainable_variables, network.non_trainable_variables


def values_of(groups):
    """Return the values of groups of variables."""
    return [[variable.value for variable in group] for group in groups]


def accuracy_function(network):
    """Return a compiled function of weights, uint8 images and labels: the accuracy."""

    def accuracy(weights, x, y):
        logits, _ = network.stateless_call(*weights, normalize(x), training=False)
        return jnp.mean(jnp.argmax(logits, axis=-1) == y)

    return jax.jit(accuracy)


def table_function(network, samples):
    """Return a compiled function of weights and padded images: the logits of every view.

    Its result has the shape (views, samples, classes).
    """
    block = next(size for size in range(min(samples, 2500), 0, -1) if samples % size == 0)

    def table(weights, padded):
        def logits(at):
            view, start = at
            x = take_views(padded, start + jnp.arange(block), jnp.full(block, view))
            return network.stateless_call(*weights, x, training=False)[0]

        views, starts = jnp.meshgrid(
            jnp.arange(VIEWS), jnp.arange(0, samples, block), indexing="ij"
        )
        return jax.lax.map(logits, (views.ravel(), starts.ravel())).reshape(VIEWS, samples, -1)

    return jax.jit(table)
