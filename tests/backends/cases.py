"""Trainings without random numbers, whose final weights must be the same on every backend."""

import keras
import numpy as np
from keras import layers

import keras_kd as kd

SAMPLES, BATCH, STEPS, CLASSES = 40, 8, 50, 4
EPOCHS = STEPS * BATCH // SAMPLES


def network(name, units, seed, normalized=False, classes=CLASSES):
    """A model with the taps `hidden` and `logits`; its weights do not depend on the backend."""
    x = inputs = keras.Input((5,))
    x = layers.Dense(units, activation="relu", name="hidden")(x)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x) if normalized else x
    model = keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)
    assign_random(model.trainable_weights, seed)
    return model


def assign_random(weights, seed):
    rng = np.random.default_rng(seed)
    for weight in weights:
        weight.assign(rng.normal(0, 0.4, weight.shape))


def teacher():
    return network("teacher", 12, seed=1)


def samples():
    rng = np.random.default_rng(0)
    return rng.normal(size=(SAMPLES, 5)).astype("float32"), rng.integers(0, CLASSES, SAMPLES)


def train(model, loss="sparse_categorical_crossentropy", **arguments):
    """Train for 50 steps of SGD and return all final weights."""
    if loss is not None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), loss=loss)
    x, y = samples()
    arguments = {"x": x, "y": y, **arguments}
    model.fit(**arguments, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    return model.get_weights()


def soft_targets():
    return train(kd.Distiller(network("student", 6, seed=0), teacher(), "soft_targets"))


def hint_with_projector():
    losses = [kd.losses.SoftTargets(2.0), kd.losses.Hint("hidden", "hidden")]
    model = kd.Distiller(network("student", 6, seed=0), teacher(), losses)
    assign_random(model.projectors["hint"].trainable_weights, seed=3)
    return train(model)


def two_teachers():
    teachers = [teacher(), network("other", 9, seed=2)]
    weighting = kd.weighting.CrossEntropy()
    return train(
        kd.Distiller(network("student", 6, seed=0), teachers, "soft_targets", weighting=weighting)
    )


def sample_weights():
    weights = np.random.default_rng(4).uniform(0, 2, SAMPLES).astype("float32")
    model = kd.Distiller(network("student", 6, seed=0), teacher(), "soft_targets")
    return train(model, sample_weight=weights)


def class_weights():
    model = kd.Distiller(network("student", 6, seed=0), teacher(), "soft_targets")
    return train(model, class_weight={0: 1.0, 1: 2.0, 2: 0.0, 3: 0.5})


def unlabeled():
    x, y = samples()
    y[::3] = kd.UNLABELED
    return train(kd.Distiller(network("student", 6, seed=0), teacher(), "soft_targets"), x=x, y=y)


def batch_normalization():
    return train(
        kd.Distiller(network("student", 6, seed=0, normalized=True), teacher(), "soft_targets")
    )


def running_average():
    student = network("student", 6, seed=0, normalized=True)
    return train(kd.SelfDistiller(student, decay=0.9))


def snapshots():
    return train(kd.SelfDistiller(network("student", 6, seed=0), start=2, every=3))


def mutual_learning():
    students = [network("one", 6, seed=0), network("two", 7, seed=5)]
    return train(kd.MutualLearning(students))


def early_exits():
    model = kd.DeepSupervision(network("student", 6, seed=0), {"hidden": layers.Dense(CLASSES)})
    assign_random(model.exits["hidden"].trainable_weights, seed=6)
    return train(model)


def class_of_students():
    students = [network(f"student_{i}", 6, seed=i, classes=size) for i, size in enumerate((8, 4))]
    discriminators = [keras.Sequential([keras.Input((n,)), layers.Dense(1)]) for n in (8, 4)]
    for seed, model in enumerate(discriminators):
        assign_random(model.trainable_weights, seed)
    model = kd.TeacherClass(
        teacher(),
        "hidden",
        students,
        chunks=[8, 4],
        mimic="output",
        discriminators=discriminators,
        discriminator_optimizer=keras.optimizers.SGD(0.1),
    )
    return train(model, loss=None)


def labels_first():
    """The teacher knows the labels, so it joins after two epochs."""
    expert, (x, _) = teacher(), samples()
    expert.get_layer("logits").kernel.assign(expert.get_layer("logits").kernel * 8)
    y = np.argmax(expert.predict(x, verbose=0), axis=-1)
    loss = kd.losses.LabelsFirst("soft_targets")
    return train(kd.Distiller(network("student", 6, seed=0), expert, loss), y=y)


CASES = {
    case.__name__: case
    for case in (
        *(soft_targets, hint_with_projector, two_teachers, sample_weights, class_weights),
        *(unlabeled, batch_normalization, running_average, snapshots, mutual_learning),
        *(early_exits, class_of_students, labels_first),
    )
}
