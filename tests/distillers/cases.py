"""The distillers of the package, as cases of tests/conformance.py."""

import keras
from keras import layers

import keras_kd as kd
from tests.conformance import CLASSES, Case


def _teachers(build):
    return [build.network("one", 16, seed=1), build.network("two", 6, seed=2)]


def _distiller(build):
    """Two teachers weighted per sample, a hint with projectors, and noise."""
    return kd.Distiller(
        build.network("student"),
        _teachers(build),
        [kd.losses.SoftTargets(2.0), kd.losses.Hint("hidden", "hidden")],
        # The weightings average over masked steps too.
        weighting=None if build.sequences else kd.weighting.CrossEntropy(),
        noise=kd.noise.LogitNoise(0.5, seed=4) if build.random else None,
    )


def _self_distiller(**arguments):
    return lambda build: kd.SelfDistiller(build.network("student"), **arguments)


def _mutual(build):
    students = [build.network("a"), build.network("b", 6, seed=1)]
    return kd.MutualLearning(students, ["soft_targets", kd.losses.Hint("hidden", "hidden")])


def _early_exits(build):
    return kd.DeepSupervision(build.network("student"), {"hidden": layers.Dense(CLASSES)})


def _discriminator(size):
    return keras.Sequential([keras.Input((size,)), layers.Dense(1)])


def _teacher_class(build):
    def student(size):
        return build.network(f"student_{size}", 6, seed=size, classes=size)

    return kd.TeacherClass(
        _teachers(build)[0],
        "hidden",
        student,
        chunks=[10, 6],
        # The adversarial losses average over masked steps too.
        discriminators=None if build.sequences else _discriminator,
        discriminator_optimizer=keras.optimizers.SGD(0.1, momentum=0.5),
    )


CASES = {
    case.name: case
    for case in (
        Case(
            "distiller",
            _distiller,
            attach=lambda model, build: model.set_teachers(_teachers(build)),
        ),
        Case(
            "running_average",
            _self_distiller(decay=0.9),
            # Its loss is that of "distiller", which covers what depends on labels and weights.
            excluded=(
                *("train_on_batch", "run_eagerly", "jit_compile", "float64"),
                *("sample_weight", "class_weight", "masks", "unlabeled", "backup_and_restore"),
            ),
        ),
        Case(
            "snapshots",
            _self_distiller(start=1),
            # `fit` takes the snapshots, and before the first one only labels train the student.
            # The step is that of the running average, which covers the rest.
            excluded=(
                *("train_on_batch", "unlabeled", "arrays", "py_dataset", "mixed_precision"),
                *("float64", "sample_weight", "class_weight", "masks", "jit_compile"),
                "run_eagerly",
            ),
        ),
        # The base class reads data, compiles the step and saves its state. "distiller" covers that,
        # also for those that compute another loss.
        Case(
            "mutual",
            _mutual,
            excluded=(
                *("arrays", "py_dataset", "run_eagerly"),
                *("steps_per_execution", "backup_and_restore"),
            ),
        ),
        Case(
            "early_exits",
            _early_exits,
            excluded=(
                *("arrays", "py_dataset", "run_eagerly", "jit_compile"),
                *("class_weight", "resume", "backup_and_restore"),
            ),
        ),
        Case(
            "teacher_class",
            _teacher_class,
            labeled=False,
            excluded=("class_weight", "unlabeled"),
            attach=lambda model, build: model.set_teacher(_teachers(build)[0]),
        ),
    )
}
