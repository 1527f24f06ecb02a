"""Short trainings for `weight_digests`: each case returns its final arrays and its history."""

import contextlib
import functools
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd

SAMPLES = 64
RECIPE = {"optimizer": "sgd", "batch_size": 16, "epochs": 2, "verbose": 0, "shuffle": False}


def samples(classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SAMPLES, 6, 6, 1)).astype("float32")
    return x, rng.integers(0, classes, SAMPLES)


def cnn(name, filters=4, classes=4, activation=None, seed=0, dropout=0.0):
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((6, 6, 1), name=f"{name}_input")
    x = layers.Conv2D(filters, 3, name="conv", kernel_regularizer="l2")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(8, activation="relu", name="features")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return keras.Model(
        inputs, layers.Dense(classes, activation=activation, name="logits")(x), name=name
    )


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def two_teachers():
    return [cnn("one", 6, seed=1), cnn("two", 5, activation="softmax", seed=2)]


def batches(x=None, y=None, weights=None, batch=16):
    x = samples()[0] if x is None else x
    y = samples()[1] if y is None else y
    parts = (x, y) if weights is None else (x, y, weights)
    return tf.data.Dataset.from_tensor_slices(parts).shuffle(SAMPLES, seed=1).batch(batch)


def train(model, data=None, epochs=2, optimizer="adam", compiled=None, **fit):
    compiled = {"loss": loss(), "metrics": ["accuracy"]} if compiled is None else compiled
    keras.utils.set_random_seed(3)
    model.compile(optimizer, **compiled)
    history = model.fit(batches() if data is None else data, epochs=epochs, verbose=0, **fit)
    return model, history.history


def distill(losses=None, teachers=None, student=None, data=None, **kwargs):
    fit = kwargs.pop("fit", {})
    teachers = cnn("teacher", 6, seed=1) if teachers is None else teachers
    student = cnn("student", dropout=0.2) if student is None else student
    model = kd.Distiller(student, teachers, losses, **kwargs)
    model, history = train(model, data, **fit)
    parts = [*model.student.get_weights()]
    for _, projector in sorted(model.projectors.items()):
        parts += projector.get_weights()
    return parts, history


def one_loss(name):
    return distill(kd.losses.get(name))


def hint_screened():
    losses = [kd.losses.SoftTargets(2.0), kd.losses.Hint("relu", "relu", weight=0.5)]
    weights = np.linspace(0, 2, SAMPLES, dtype="float32")
    screening = kd.weighting.Screening(keep=1)
    return distill(losses, two_teachers(), data=batches(weights=weights), weighting=screening)


def several(weighting, combine):
    return distill(
        None,
        two_teachers(),
        weighting=weighting,
        combine=combine,
        noise=kd.noise.LogitNoise(0.5, 0.5, seed=4),
    )


def unlabeled():
    y = samples()[1]
    y[::3] = kd.UNLABELED
    return distill(data=batches(y=y), fit={"class_weight": {0: 2.0, 1: 0.5}})


def merge_classes():
    teachers = [
        kd.Teacher(cnn("ab", 6, classes=2, seed=1), classes=[0, 1]),
        kd.Teacher(cnn("bcd", 6, classes=3, seed=2), classes=[1, 2, 3]),
    ]
    return distill(None, teachers)


def augment_inputs():
    return distill(augment=layers.RandomTranslation(0.2, 0.2, seed=5), same_view=True)


def bad_batches():
    x = samples()[0].copy()
    x[3] = np.nan
    return distill(data=batches(x), on_bad_batch="skip")


def schedule_hyperparameters():
    callbacks = [
        kd.callbacks.TemperatureScheduler(lambda epoch, value: value * 0.5),
        kd.callbacks.LossWeightScheduler(lambda epoch, value: value * 0.9, "soft_targets"),
    ]
    return distill(fit={"callbacks": callbacks, "validation_data": batches(), "epochs": 3})


def mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        student = cnn("student")
    finally:
        keras.config.set_dtype_policy("float32")
    return distill(student=student)


class Stop(keras.callbacks.Callback):
    def __init__(self, left):
        super().__init__()
        self.left = left

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def resume_run():
    with tempfile.TemporaryDirectory() as folder:
        noise = {"noise": kd.noise.LogitNoise(0.5, seed=4)}
        resume = kd.callbacks.Resume(folder, every=3)
        with contextlib.suppress(KeyboardInterrupt):
            distill(fit={"callbacks": [resume, Stop(6)]}, **noise)
        return distill(fit={"callbacks": [kd.callbacks.Resume(folder, every=3)]}, **noise)


def two_outputs():
    def model(name, filters, seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((6, 6, 1))
        x = layers.Flatten()(layers.Conv2D(filters, 3, activation="relu")(inputs))
        outputs = {
            "a": layers.Dense(4, name="a")(x),
            "b": layers.Dense(4, activation="softmax", name="b")(x),
        }
        return keras.Model(inputs, outputs, name=name)

    losses = [
        kd.losses.SoftTargets(teacher_tap="a", student_tap="a"),
        kd.losses.SoftTargets(teacher_tap="b", student_tap="b"),
    ]
    x, y = samples()
    compiled = {"loss": {"a": loss(), "b": "sparse_categorical_crossentropy"}}
    return distill(
        losses,
        model("t", 6, 1),
        model("s", 3, 0),
        batches(x, {"a": y, "b": y}),
        fit={"compiled": compiled},
    )


def self_snapshot():
    model, history = train(kd.SelfDistiller(cnn("student", dropout=0.2), start=1), epochs=3)
    return model.student.get_weights(), history


def self_average():
    model, history = train(
        kd.SelfDistiller(cnn("student"), decay=0.9, noise=kd.noise.LogitNoise(0.3, seed=1))
    )
    return [*model.student.get_weights(), *model.earlier_self.get_weights()], history


def mutual():
    students = [cnn("a", 4, dropout=0.2), cnn("b", 6, seed=1), cnn("c", 3, seed=2)]
    _, history = train(kd.MutualLearning(students, weighting=kd.weighting.CrossEntropy()))
    return [w for s in students for w in s.get_weights()], history


def deep_supervision():
    model, history = train(kd.DeepSupervision(cnn("student"), ["relu", "features"]))
    return [
        *model.student.get_weights(),
        *(w for e in model.exits.values() for w in e.get_weights()),
    ], history


def born_again():
    x, y = samples()
    keras.utils.set_random_seed(3)
    result = kd.born_again(functools.partial(cnn, "student"), x, y, loss=loss(), **RECIPE)
    return result.student.get_weights(), result.histories[-1].history


def chain():
    keras.utils.set_random_seed(3)
    models = [cnn("teacher", 8), cnn("assistant", 6), cnn("student", 3)]
    kd.distill_chain(models, *samples(), loss=loss(), **RECIPE)
    return [w for m in models for w in m.get_weights()], {}


def small(size):
    keras.utils.set_random_seed(size)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Flatten(),
            layers.Dense(5, "relu"),
            layers.Dropout(0.2, seed=1),
            layers.Dense(size),
        ]
    )


def discriminator(size):
    return keras.Sequential([keras.Input((size,)), layers.Dense(1)])


def teacher_class(**kwargs):
    keras.utils.set_random_seed(3)
    kwargs.setdefault("mimic", "output")
    model = kd.TeacherClass(cnn("teacher", 6, seed=1), "features", small, n=2, **kwargs)
    weights = np.linspace(0, 2, SAMPLES, dtype="float32")
    model, history = train(model, batches(weights=weights), compiled={})
    x = samples()[0]
    return [*model.get_weights(), model.assemble().predict(x, verbose=0)], history


def train_from_cache(view=False):
    x, y = samples()
    data = tf.data.Dataset.from_tensor_slices((x, y))
    augment = _shift if view else None
    with tempfile.TemporaryDirectory() as folder:
        views = {"augment": augment, "views": 2, "seed": 7} if view else {}
        cache = kd.KnowledgeCache.build(
            two_teachers(), data, Path(folder) / "c", verbose=0, taps=[None, "relu"], **views
        )
        keyed = kd.keyed(data).shuffle(SAMPLES, seed=1).batch(16)
        joined = cache.join(keyed, augment, seed=5) if view else cache.join(keyed)
        losses = [kd.losses.SoftTargets(), kd.losses.Hint("relu", "relu")]
        return distill(losses, cache.teachers, data=joined, weighting=kd.weighting.Entropy())


def _shift(x, seed):
    return x + tf.random.stateless_uniform(tf.shape(x), seed, -0.1, 0.1)


def train_from_top_k_cache():
    x, y = samples()
    data = tf.data.Dataset.from_tensor_slices((x, y))
    with tempfile.TemporaryDirectory() as folder:
        cache = kd.KnowledgeCache.build(
            cnn("teacher", 6, seed=1), data, Path(folder) / "c", verbose=0, top_k=2
        )
        return distill(None, cache.teachers, data=cache.join(kd.keyed(data).batch(16)))


def compress(function, **kwargs):
    x, y = samples()
    keras.utils.set_random_seed(3)
    common = {"batch_size": 16, "epochs": 2, "loss": loss(), "metrics": ["accuracy"], "verbose": 0}
    result = function(
        cnn("student", 6), data=(x, y), teachers=cnn("teacher", 8, seed=1), **common, **kwargs
    )
    return result.model.get_weights(), result.history


def run_pipeline():
    stages = [
        kd.compression.Stage("distill", epochs=1),
        kd.compression.Stage("prune", sparsity=0.5, epochs=1),
        kd.compression.Stage("cluster", clusters=8, epochs=1),
        kd.compression.Stage("quantize_aware", epochs=1),
    ]
    x, y = samples()
    keras.utils.set_random_seed(3)
    with tempfile.TemporaryDirectory() as folder:
        result = kd.compression.pipeline(
            stages,
            cnn("student", 6),
            Path(folder) / "p",
            data=(x, y),
            teachers=cnn("teacher", 8, seed=1),
            batch_size=16,
            loss=loss(),
            verbose=0,
        )
        return [w for stage in result.stages for w in stage.model.get_weights()], {}


def export_int8():
    with tempfile.TemporaryDirectory() as folder:
        file = kd.export.to_tflite(
            cnn("student", 6), Path(folder) / "s.tflite", "int8", samples()[0]
        )
        return [file.predict(samples()[0])], {}


CASES = {
    "soft_targets": distill,
    **{
        name: functools.partial(one_loss, name)
        for name in ("decoupled_kd", "dist", "logits_mse", "logit_standardization", "normalized_kd")
    },
    "hint_screened": hint_screened,
    "two_losses_entropy": functools.partial(several, kd.weighting.Entropy(), "losses"),
    "two_probabilities_ce": functools.partial(
        several, kd.weighting.CrossEntropy(), "probabilities"
    ),
    "two_logits_fixed": functools.partial(several, kd.weighting.Fixed([2, 1]), "logits"),
    "attention": lambda: distill(kd.losses.AttentionTransfer("relu", "relu")),
    "contrastive": lambda: distill(
        ["soft_targets", kd.losses.ContrastiveRepresentation("features", "features")]
    ),
    "relational": lambda: distill(
        [
            kd.losses.RelationalKD("features", "features"),
            kd.losses.SimilarityPreserving("relu", "relu"),
        ]
    ),
    "selectivity": lambda: distill(
        [
            kd.losses.NeuronSelectivity("relu", "relu"),
            kd.losses.ProbabilisticTransfer("features", "features"),
        ]
    ),
    "unlabeled": unlabeled,
    "merged_classes": merge_classes,
    "augmented": augment_inputs,
    "bad_batches": bad_batches,
    "scheduled": schedule_hyperparameters,
    "several_steps": lambda: distill(fit={"compiled": {"loss": loss(), "steps_per_execution": 2}}),
    "eager_without_labels": lambda: distill(fit={"compiled": {"run_eagerly": True}}),
    "mixed_precision": mixed_precision,
    "resumed": resume_run,
    "two_outputs": two_outputs,
    "self_snapshot": self_snapshot,
    "self_average": self_average,
    "mutual": mutual,
    "deep_supervision": deep_supervision,
    "born_again": born_again,
    "chain": chain,
    "teacher_class": teacher_class,
    "teacher_class_preactivation": functools.partial(
        teacher_class, mimic="preactivation", split="correlated", data=samples()[0]
    ),
    "teacher_class_adversarial": functools.partial(teacher_class, discriminators=discriminator),
    "cached": train_from_cache,
    "cached_views": functools.partial(train_from_cache, True),
    "top_k_cache": train_from_top_k_cache,
    "pruned": lambda: compress(kd.compression.prune, sparsity=0.5),
    "clustered": lambda: compress(kd.compression.cluster, clusters=8),
    "quantize_aware": lambda: compress(kd.compression.quantize_aware),
    "pipelined": run_pipeline,
    "exported": export_int8,
}
