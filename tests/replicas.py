"""Training on two replicas and on one device, for tests.

`compare` trains on one device and on two logical devices. Logical devices cannot be changed in a
running process, so the tests start one.

Most runs are eager, which needs no tracing. `everything` and `teacher_class`, one of each base
class, trace the step.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from keras_kd.losses.masked_generator import MaskedGenerator
from keras_kd.training.distribution import replica_id
from tests import quick_tensorflow, toy
from tests.conformance import SIMPLE, Stop
from tests.distillers.cases import CASES

BATCH, SAMPLES, STEPS = 4, 8, 3


def data():
    """Batches of 4, 3 and 1: the first replica has one more of the second, the last alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 5)).astype("float32")
    weights = np.linspace(0, 2, SAMPLES, dtype="float32")
    parts = (x, rng.integers(0, 4, SAMPLES), weights)
    samples = tf.data.Dataset.from_tensor_slices(parts).shuffle(SAMPLES, seed=1)
    batches = samples.take(SAMPLES - 1).batch(BATCH)
    return batches.concatenate(samples.skip(SAMPLES - 1).batch(BATCH))


def everything(strategy, callbacks=(), validate=True, **compiled):
    """Two teachers weighted by cross-entropy, a hint, weights, L2, a schedule, validation.

    Returns:
        The trained model and its history.
    """
    # Teachers from outside the scope are copied into it.
    teachers = [toy.mlp("one", units=16, seed=1), toy.mlp("two", units=8, seed=2)]
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")]
    with strategy.scope():
        student, weighting = SIMPLE.network("student"), kd.weighting.CrossEntropy()
        model = kd.Distiller(student, teachers, losses, weighting=weighting)
        for i, projector in enumerate(model.projectors.values()):
            rng = np.random.default_rng(i)  # The copies have drawn from Keras's generator.
            projector.set_weights([rng.normal(0, 0.3, w.shape) for w in projector.get_weights()])
        compile_model(model, **compiled)
    halve = kd.callbacks.LossWeightScheduler(lambda _, weight: weight / 2, "hint")
    fit = {"epochs": 2, "callbacks": [halve, *callbacks], "verbose": 0}
    fit["validation_data"] = data() if validate else None
    return model, model.fit(data(), **fit).history


def cache(strategy, folder):
    """Build a cache, of several workers each its shard; return the shard and its samples."""
    samples = tf.data.Dataset.from_tensor_slices(toy.vectors(13))
    with strategy.scope():
        teacher = toy.mlp("teacher", seed=1)
        taps = [None, "hidden"]
        built = kd.KnowledgeCache.build(teacher, samples, folder, taps, "float32", verbose=0)
    return [built.manifest.schema.shard, len(built)]


def soft_targets(strategy, callbacks, **compiled):
    """The weights after two epochs with one teacher."""
    with strategy.scope():
        model = kd.Distiller(SIMPLE.network("student"), toy.mlp("teacher", seed=1))
        compile_model(model, **compiled)
    model.fit(data(), epochs=2, verbose=0, callbacks=callbacks)
    return [w.tolist() for w in model.get_weights()]


def conforming(name, strategy, weights=None, **compiled):
    """A trained distiller of the conformance tests, its history and its initial weights."""
    case = CASES[name]
    with strategy.scope():
        keras.utils.set_random_seed(1)
        model = case.make(SIMPLE)
        if weights is not None:
            model.set_weights(weights)
        compile_model(model, labels=case.labeled, **compiled)
    start = model.get_weights()
    return model, model.fit(data(), verbose=0).history, start


def compile_model(model, rate=0.1, labels=True, **compiled):
    if labels:
        compiled |= {"loss": toy.sparse_loss(), "metrics": ["accuracy"]}
    model.compile(keras.optimizers.SGD(rate), **compiled)
    return model


def distance(one, other):
    """The greatest difference of the weights of two trained models, and of their histories."""
    weights = zip(one[0].get_weights(), other[0].get_weights(), strict=True)
    assert one[1].keys() == other[1].keys()
    numbers = [np.abs(np.subtract(one[1][name], other[1][name])).max() for name in one[1]]
    return float(max(np.abs(a - b).max() for a, b in weights)), float(max(numbers))


def differences(name, strategy):
    """The difference between two replicas and one device."""
    one = conforming(name, tf.distribute.get_strategy(), run_eagerly=True)
    return distance(one, conforming(name, strategy, one[2], run_eagerly=name != "teacher_class"))


def unequal_labels(strategy):
    """The difference between two replicas and one device where their parts differ in labels."""
    x, y = toy.vectors()
    y[np.arange(32) % 8 < 3] = kd.UNLABELED  # Of 8, the first replica gets 1 label, the other 4.
    y[16:20] = kd.UNLABELED  # One replica has none at all.
    y[24:] = kd.UNLABELED  # None has one.
    batches = tf.data.Dataset.from_tensor_slices((x, y, np.linspace(0, 2, 32))).batch(8)

    def train(strategy):
        with strategy.scope():
            model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", units=6, seed=1))
            compile_model(model, run_eagerly=True)
        return model, model.fit(batches, verbose=0, validation_data=batches).history

    return distance(train(tf.distribute.get_strategy()), train(strategy))


def relational(strategy):
    """The relational loss in the history, its mean over the replicas' parts, and statistics."""
    teacher = toy.mlp("teacher", seed=1)
    with strategy.scope():
        network = [keras.Input((5,)), keras.layers.Dense(8), keras.layers.BatchNormalization()]
        student = keras.Sequential([*network, keras.layers.Dense(4)])
        losses = "similarity_preserving"
        model = kd.Distiller(student, teacher, losses, student_loss_weight=0)
        compile_model(model, rate=0.0, run_eagerly=True)
    history = model.fit(data(), verbose=0).history
    values, sizes = [], []
    for x, _, weights in data():
        half = -(-len(x) // 2)
        for part in (slice(half), slice(half, None)):
            if len(x[part]):
                outputs = teacher(x[part]), student(x[part], training=True)
                values.append(np.mean(model.distillation_losses[0](*outputs) * weights[part]))
                sizes.append(len(x[part]))
    moving = student.layers[1].non_trainable_variables
    local = [strategy.experimental_local_results(v.value) for v in moving]
    statistics = [[np.asarray(part).tolist() for part in parts] for parts in local]
    mean = float(np.average(values, weights=sizes))
    return [history["similarity_preserving"][0], mean], statistics


def scheduled(strategy):
    """The difference between two replicas and one device of a schedule that reads the loss."""

    def train(strategy):
        keras.utils.set_random_seed(0)
        teacher = toy.mlp("teacher", seed=1)
        with strategy.scope():
            model = kd.Distiller(toy.mlp("student"), teacher, "taid")
            compile_model(model, run_eagerly=True)
        scheduler = kd.callbacks.TAIDScheduler(alpha=0.5, beta=0.5)
        batches = tf.data.Dataset.from_tensor_slices(toy.vectors(11)).batch(BATCH)
        return model, model.fit(batches, epochs=2, verbose=0, callbacks=[scheduler]).history

    return distance(train(tf.distribute.get_strategy()), train(strategy))


def draws(strategy):
    """Two draws of noise on each replica, and two masks of generators."""
    with strategy.scope():
        noise = kd.noise.LogitNoise(1.0, seed=7)
        generator = MaskedGenerator(None, 4, 0.5, "channels", 7, "generator")

    @tf.function
    def draw():
        return strategy.run(lambda: noise(tf.ones((1, 4)), replica=replica_id()))

    @tf.function
    def draw_mask():
        return strategy.run(lambda: generator.draw(tf.ones((1, 1, 1, 32)), training=True))

    found = [strategy.experimental_local_results(draw()) for _ in range(2)]
    masks = [strategy.experimental_local_results(draw_mask()) for _ in range(2)]
    masks = [np.asarray(value).ravel().tolist() for pair in masks for value in pair]
    return [np.asarray(value).ravel().tolist() for pair in found for value in pair], masks


def resumed(strategy, folder):
    """The weights of a run that was interrupted in its second epoch and continued."""
    checkpoints = kd.callbacks.Resume(folder, every=2)
    with contextlib.suppress(KeyboardInterrupt):
        everything(strategy, [checkpoints, Stop(STEPS + 2)], validate=False)
    return everything(strategy, [checkpoints], validate=False)[0].get_weights()


def rejection(strategy):
    """The error for a student from outside the scope."""
    outside = toy.mlp("student")
    with strategy.scope():
        model = compile_model(kd.Distiller(outside, toy.mlp("one")))
    try:
        model.fit(data(), verbose=0)
    except ValueError as error:
        return str(error)


def agreement(model, folder):
    """How often a student trained on replicas and its exported file predict the same class."""
    file = kd.export.to_tflite(model.student, f"{folder}/student.tflite")
    return kd.export.evaluate(file, data().map(lambda x, y, _: (x, y)), model.student).agreement


def compare(folder):
    """Return the differences between two replicas and one device by name."""
    quick_tensorflow.configure()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # With one thread per core, the iterators of two devices on two cores may wait for each other.
    tf.config.threading.set_inter_op_parallelism_threads(16)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    names = ("running_average", "mutual", "early_exits", "teacher_class")
    found = {name: differences(name, two) for name in names}
    # All with the callback, which shuffles in an order of its own.
    whole = everything(two, [kd.callbacks.Resume(f"{folder}/two")])
    single = everything(one, [kd.callbacks.Resume(f"{folder}/one")], run_eagerly=True)
    found["everything"] = distance(single, whole)
    weights = zip(resumed(two, f"{folder}/stopped"), whole[0].get_weights(), strict=True)
    found["resumed"] = all(np.array_equal(a, b) for a, b in weights)
    found["unequal_labels"] = unequal_labels(two)
    found["agreement"] = agreement(whole[0], folder)
    found["relational"], found["statistics"] = relational(two)
    found["scheduled"] = scheduled(two)
    (found["draws"], found["masks"]), found["rejection"] = draws(two), rejection(two)
    return found
