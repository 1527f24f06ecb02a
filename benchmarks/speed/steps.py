"""Steps of the student, the teacher and distillation, as `fit` runs them, and their ratios."""

import keras
import numpy as np
import tensorflow as tf
from keras import distillation

import keras_kd as kd
from benchmarks.runner.results import mean_sd, measured_on, table
from benchmarks.shared.step_networks import BATCH, SHAPES, STUDENTS, TEACHERS
from benchmarks.shared.training import build_cnn, sparse_loss


class Steps:
    """Steps for one size of images, on batches in memory."""

    def __init__(self, images, seed):
        self.images, self.shape = images, SHAPES[images]
        rng = np.random.default_rng(seed)
        self.x = rng.random((8 * BATCH, *self.shape), "float32")
        self.y = rng.integers(0, 10, 8 * BATCH)
        self.batches = self.samples().batch(BATCH).cache()
        self.teacher = build_cnn("teacher", *TEACHERS[images], shape=self.shape, seed=seed)

    def samples(self):
        return tf.data.Dataset.from_tensor_slices((self.x, self.y))

    def student(self):
        return build_cnn("student", *STUDENTS[self.images], shape=self.shape)

    def variants(self, folder):
        """Return functions that run some steps, by name."""
        taps = [None, *(f"block{i}" for i in (1, 2, 3))]
        cache = kd.KnowledgeCache.build(
            self.teacher, self.batches, folder / "cache", taps, verbose=0
        )
        joined = cache.join(self.batches)
        shuffled = self.samples().shuffle(len(self.x)).batch(BATCH).prefetch(2)
        return {
            **self.parts(),
            "logits": self.runner(self.distiller()),
            "attention": self.runner(self.distiller(losses=_attention())),
            "hints": self.runner(self.distiller(losses=_hints())),
            "cached": self.runner(self.distiller(cache.teachers), joined),
            "cached_attention": self.runner(self.distiller(cache.teachers, _attention()), joined),
            "bfloat16": self.runner(self.distiller(kd.Teacher(self.teacher, dtype="bfloat16"))),
            "int8": self.runner(self.distiller(self.int8_teacher(folder))),
            "execution": self.runner(self.distiller(steps_per_execution=8), per_call=8),
            "xla": self.runner(self.distiller(jit_compile=True)),
            "arrays": self.runner(self.distiller(), _array_dataset(self.x, self.y)),
            "shuffled": self.runner(self.distiller(), shuffled),
            "keras_logits": self.runner(self.keras_distiller([])),
            "keras_pair": self.runner(self.keras_distiller([_feature_pair()])),
        }

    def parts(self):
        """Return what every distillation needs: the student's step, the teacher's forward pass."""
        forward = tf.function(lambda x: self.teacher(x, training=False))
        x = tf.constant(self.x[:BATCH])
        return {
            "student": self.runner(self.compile(self.student())),
            "teacher": lambda count: [forward(x) for _ in range(count)],
        }

    def runner(self, model, data=None, per_call=1):
        """Return a function that runs steps of a compiled model with Keras's training function."""
        model.make_train_function()
        iterator = iter((self.batches if data is None else data).repeat())
        function = model.train_function
        return lambda count: [function(iterator) for _ in range(count // per_call or 1)]

    def distiller(self, teachers=None, losses=None, **kwargs):
        teachers = self.teacher if teachers is None else teachers
        return self.compile(kd.Distiller(self.student(), teachers, losses), **kwargs)

    def keras_distiller(self, losses):
        """Return a distiller of `keras.distillation` with logits and other losses."""
        losses = [distillation.LogitsDistillation(), *losses]
        model = distillation.Distiller(
            teacher=self.teacher,
            student=self.student(),
            distillation_losses=losses,
            distillation_loss_weights=[1.0] * len(losses),
        )
        return self.compile(model)

    def compile(self, model, **kwargs):
        model.compile("adam", sparse_loss(), metrics=["accuracy"], **kwargs)
        return model

    def int8_teacher(self, folder):
        path = folder / "teacher.tflite"
        kd.export.to_tflite(
            self.teacher, path, "int8", self.x[:300], batch_size=BATCH, max_drop=100.0
        )
        return kd.Teacher.from_tflite(path)


def step_ratios(times, variants):
    """Return the median ratio of each variant to its base, and milliseconds of the bases.

    Args:
        times: Seconds per step by name, as `seconds_in_turns` returns them.
        variants: `(title, base, limit)` by name.
    """
    times = {**times, "bound": times["student"] + times["teacher"]}
    ratios = {
        name: float(np.median(times[name] / times[base])) for name, (_, base, _) in variants.items()
    }
    return {
        **ratios,
        "student_ms": 1e3 * float(np.median(times["student"])),
        "teacher_ms": 1e3 * float(np.median(times["teacher"])),
        "cached_over_live": float(np.median(times["cached"] / times["logits"])),
    }


def step_table(done, variants):
    """Return the table of the ratios, and of the comparison with PyTorch."""
    bases = {"bound": "student + teacher", "student": "student alone", "logits": "float32 step"}
    rows = []
    for name, (title, base, limit) in variants.items():
        cells = [_mean_or_blank(done, name, images) for images in SHAPES]
        rows.append([title, bases[base], *cells, "" if limit is None else f"≤ {limit:.2f}"])
    cells = [_mean_or_blank(done, "speed", images, peer="PyTorch") for images in SHAPES]
    rows.append(["steps/s over plain PyTorch, channels_last", "one thread", *cells, "≥ 1.40"])
    text = table(["step", "time over", *SHAPES, "target"], rows)
    return f"{text}\n\n{measured_on(done)}" if done.runs else text


def _mean_or_blank(done, metric, images, **values):
    runs = [r for r in done.where(images=images, **values) if metric in r["metrics"]]
    return mean_sd([run["metrics"][metric] for run in runs]) if runs else ""


def _attention():
    maps = [kd.losses.AttentionTransfer(f"block{i}", f"block{i}") for i in (1, 2, 3)]
    return [kd.losses.SoftTargets(), *maps]


def _hints():
    pairs = [(f"block{i}", f"block{i}") for i in (1, 2, 3)]
    return [kd.losses.SoftTargets(), kd.losses.Hint(taps=pairs)]


def _feature_pair():
    """Return an attention map as a feature loss of `keras.distillation`."""

    def attention(teacher, student):
        maps = [keras.ops.mean(keras.ops.square(x), axis=-1) for x in (teacher, student)]
        return keras.ops.mean(keras.ops.square(maps[0] - maps[1]), axis=(1, 2))

    return distillation.FeatureDistillation(
        loss=attention, teacher_layer_name="block2", student_layer_name="block2"
    )


def _array_dataset(x, y):
    """Return the data set that Keras makes of arrays."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    return ArrayDataAdapter(x, y, batch_size=BATCH, shuffle=True).get_tf_dataset()
