"""What is trained on several replicas and on one device: cases for tests, each a small model.

Run as `python -m tests.replicas NAME ...` it trains the cases on one device and on two logical
devices, and prints as JSON what was found. A process has its logical devices for good, so tests run
it as one.
"""

import contextlib
import json
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from keras_kd.training.distribution import replica_id
from tests import toy

#: Batches of 8, 8, 5 and 1: of the third the first replica has one more, of the last the only one.
FULL, UNEVEN = 21, 22


def data(batch=8, unlabeled=False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(UNEVEN, 5)).astype("float32")
    y = rng.integers(0, 4, UNEVEN)
    if unlabeled:
        y[1::3] = kd.UNLABELED
    weights = np.linspace(0, 2, UNEVEN, dtype="float32")
    samples = tf.data.Dataset.from_tensor_slices((x, y, weights)).shuffle(UNEVEN, seed=1)
    return samples.take(FULL).batch(batch).concatenate(samples.skip(FULL).batch(batch))


def student(units=8, normalized=False, name="student"):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((5,)), keras.layers.Dense(units, kernel_regularizer="l2", name="hidden")]
    if normalized:
        layers.append(keras.layers.BatchNormalization(name="norm"))
    layers += [keras.layers.ReLU(name="relu"), keras.layers.Dense(4, name="head")]
    return keras.Sequential(layers, name=name)


def soft_targets(teachers):
    return compiled(kd.Distiller(student(), teachers[0])), data()


def everything(teachers):
    """Two teachers weighed by cross-entropy, a hint with projectors, weights, L2, a schedule."""
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "relu")]
    weighting = kd.weighting.CrossEntropy()
    model = kd.Distiller(student(), teachers, losses, weighting=weighting)
    for i, projector in enumerate(model.projectors.values()):
        rng = np.random.default_rng(i)  # Copies of the teachers drew from Keras's generator.
        projector.set_weights([rng.normal(0, 0.3, w.shape) for w in projector.get_weights()])
    return compiled(model), data()


def unlabeled(teachers):
    return compiled(kd.Distiller(student(), teachers[0])), data(unlabeled=True)


def earlier_self(_):
    return compiled(kd.SelfDistiller(student(), decay=0.9)), data()


def snapshot(_):
    return compiled(kd.SelfDistiller(student(), start=1)), data()


def mutual(_):
    return compiled(kd.MutualLearning([student(8, name="a"), student(6, name="b")])), data()


def early_exits(_):
    return compiled(kd.DeepSupervision(student(), ["relu"])), data()


def teacher_class(teachers):
    judges = [toy.mlp(f"judge_{i}", 4, classes=1, seed=i) for i in range(2)]
    members = [toy.mlp(f"member_{i}", classes=4, seed=i) for i in range(2)]
    sgd = keras.optimizers.SGD(0.05)
    model = kd.TeacherClass(
        teachers[1], "hidden", members, discriminators=judges, discriminator_optimizer=sgd
    )
    model.compile(keras.optimizers.SGD(0.05))
    return model, data()


def relational(teachers):
    """A loss that relates samples to each other, and statistics; looked at without learning."""
    kept = student(normalized=True)
    model = kd.Distiller(kept, teachers[0], "similarity_preserving", student_loss_weight=0)
    return compiled(model, 0.0), data()


def compiled(model, rate=0.1):
    model.compile(keras.optimizers.SGD(rate), toy.sparse_loss(), metrics=["accuracy"])
    return model


def train(case, strategy, epochs=2, callbacks=()):
    """The trained model and its history."""
    # Outside the scope, as models that come from elsewhere often are.
    teachers = [toy.mlp("one", units=16, seed=1), toy.mlp("two", units=8, seed=2)]
    with strategy.scope():
        keras.utils.set_random_seed(3)
        model, samples = case(teachers)
    fit = {"epochs": epochs, "verbose": 0, "callbacks": [*callbacks]}
    if case is everything:
        halved = kd.callbacks.LossWeightScheduler(lambda _, weight: weight / 2, "hint")
        fit |= {"validation_data": samples, "callbacks": [halved, *callbacks]}
    return model, model.fit(samples, **fit).history


def distance(one, other):
    """The greatest difference of two trained models' weights, and of their histories."""
    weights = [
        np.abs(a - b).max()
        for a, b in zip(one[0].get_weights(), other[0].get_weights(), strict=True)
    ]
    assert one[1].keys() == other[1].keys()
    numbers = [np.abs(np.subtract(one[1][name], other[1][name])).max() for name in one[1]]
    return float(max(weights)), float(max(numbers))


def logical_devices(count):
    # With as many threads as cores, two, the iterators of the devices wait for each other.
    tf.config.threading.set_inter_op_parallelism_threads(16)
    cpu = tf.config.list_physical_devices("CPU")[0]
    configuration = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, configuration)
    return [f"CPU:{i}" for i in range(count)]


def relations(model, history):
    """The relational loss in the history, and its mean over the parts that the replicas had."""
    teacher = model.teachers[0].model
    values, sizes = [], []
    for x, _, weights in data():
        half = -(-len(x) // 2)
        for part in (slice(half), slice(half, None)):
            if len(x[part]):
                teacher_outputs, answer = teacher(x[part]), model.student(x[part], training=True)
                value = model.distillation_losses[0](teacher_outputs, answer)
                values.append(np.mean(value * weights[part]))
                sizes.append(len(x[part]))
    return history["similarity_preserving"][0], float(np.average(values, weights=sizes))


def statistics(model, strategy):
    """The moving statistics of each replica."""
    moving = model.student.get_layer("norm").non_trainable_variables
    local = [strategy.experimental_local_results(v.value) for v in moving]
    return [[np.asarray(part).tolist() for part in parts] for parts in local]


def draws(strategy):
    """Two draws of noise on each replica."""
    with strategy.scope():
        noise = kd.noise.LogitNoise(1.0, seed=7)

    @tf.function
    def draw():
        return strategy.run(lambda: noise(tf.ones((1, 4)), replica=replica_id()))

    found = [strategy.experimental_local_results(draw()) for _ in range(2)]
    return [np.asarray(value).ravel().tolist() for pair in found for value in pair]


class Stop(keras.callbacks.Callback):
    """Ends a run after some steps, as Ctrl-C does."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def resumed(strategy, folder):
    """How far a run that was stopped and went on is from one that was not stopped."""
    whole = train(everything, strategy, callbacks=[kd.callbacks.Resume(f"{folder}/whole", every=2)])
    resume = kd.callbacks.Resume(f"{folder}/stopped", every=2)
    with contextlib.suppress(KeyboardInterrupt):
        train(everything, strategy, callbacks=[resume, Stop(7)])
    return distance(whole, train(everything, strategy, callbacks=[resume]))


def refusal(strategy):
    """What is said of a student from outside the scope."""
    outside = student()
    with strategy.scope():
        model = compiled(kd.Distiller(outside, toy.mlp("one")))
    try:
        model.fit(data(), verbose=0)
    except ValueError as error:
        return str(error)


def agreement(model):
    """How often a student trained on replicas and its file say the same."""
    file = kd.export.to_tflite(model.student, f"{sys.argv[1]}/student.tflite")
    return kd.export.evaluate(file, data().map(lambda x, y, _: (x, y)), model.student).agreement


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # With as many threads as cores, two, the iterators of the devices can wait for each other.
    tf.config.threading.set_inter_op_parallelism_threads(16)
    two, found = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), {}
    for case in (earlier_self, snapshot, mutual, teacher_class, everything):
        one, other = train(case, tf.distribute.get_strategy()), train(case, two)
        found[case.__name__] = distance(one, other)
    found["agreement"] = agreement(other[0])
    model, history = train(relational, two, epochs=1)
    found["statistics"] = statistics(model, two)
    found["relations"] = relations(model, history)
    found["resumed"] = resumed(two, sys.argv[1])
    found["draws"], found["refusal"] = draws(two), refusal(two)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
