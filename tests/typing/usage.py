"""How the public API is used, for the type checker (`make lint`); nothing here runs.

A line that a checker must refuse ends in a `type: ignore`, and an unneeded one is an error.
"""

from pathlib import Path
from typing import assert_type

import keras
import numpy as np

import keras_kd as kd
from keras_kd.compression import PipelineResult, Result, ShrinkResult
from keras_kd.export import Benchmark, Evaluation, LayerError, TFLiteModel
from keras_kd.report import Entry, Report


def distill(student: keras.Model, teacher: keras.Model, train: object) -> None:
    distiller = kd.Distiller(
        student,
        [teacher, kd.Teacher(teacher, outputs="logits", classes=[0, "dog", None])],
        [kd.losses.SoftTargets(temperature=4), "dist", kd.losses.Hint("block1", "block2")],
        weighting=kd.weighting.Screening(keep=1),
        noise=kd.noise.LogitNoise(0.5, seed=0),
        augment=[keras.layers.RandomFlip()],
    )
    distiller.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    distiller.fit(train, epochs=2, callbacks=[kd.callbacks.NoiseScheduler(lambda epoch: 0.1)])
    distiller.summary(print_fn=print)
    assert_type(distiller.distillation_losses, list[kd.losses.DistillationLoss])
    kd.Distiller(student, teacher, losses=4)  # type: ignore[arg-type]
    kd.Distiller(student, teacher, temperature=4)  # type: ignore[call-arg]
    kd.Distiller(student, teacher, student_loss_weight="half")  # type: ignore[arg-type]


def other_distillers(student: keras.Model, other: keras.Model) -> None:
    kd.SelfDistiller(student, decay=0.99, start=2)
    kd.DeepSupervision(student, ["block1"], exit_loss_weight=0.3)
    mutual = kd.MutualLearning([student, other])
    assert_type(mutual.students, list[keras.Model])
    ensemble = kd.TeacherClass(other, "features", lambda size: student, n=2)
    ensemble.assemble(head=None)
    kd.SelfDistiller(student, start="later")  # type: ignore[arg-type]
    kd.MutualLearning(student, kd.losses.OutputsMSE(), 1.0, None, None, 4)  # type: ignore[arg-type]


def choose_layers(teacher: keras.Model, student: keras.Model) -> None:
    assert_type([tap.name for tap in kd.taps(teacher)], list[str])
    assert_type(kd.pair_taps(teacher, student, n=2), list[tuple[str, str]])


def cache(teacher: keras.Model, train: object) -> None:
    stored = kd.KnowledgeCache.build(
        teacher, train, "cache", taps=[None, "block1"], dtype="float32"
    )
    assert_type(len(stored), int)
    assert_type(stored, kd.KnowledgeCache)
    kd.Distiller(teacher, stored.teachers)
    kd.KnowledgeCache.build(teacher, train, "cache", views="2")  # type: ignore[arg-type]


def compress(student: keras.Model, train: object) -> None:
    pruned = kd.compression.prune(student, 0.8, data=train, epochs=2, teachers=student)
    assert_type(pruned, Result)
    assert_type(pruned.history, dict[str, list[float]])
    assert_type(kd.compression.cluster(pruned.model, 16, data=train, epochs=1), Result)
    assert_type(kd.compression.quantize_aware(pruned.model, data=train, epochs=1), Result)
    assert_type(kd.compression.shrink(student, max_bytes=50_000), ShrinkResult)
    stages = [kd.compression.Stage("prune", sparsity=0.5), kd.compression.Stage("export")]
    result = kd.compression.pipeline(stages, student, "stages", data=train)
    assert_type(result, PipelineResult)
    assert_type(result.file, TFLiteModel | None)
    kd.compression.prune(student, 0.8, train, 2)  # type: ignore[call-arg]
    kd.compression.prune(student, "most", data=train, epochs=2)  # type: ignore[arg-type]


def compress_to_a_budget(teacher: keras.Model, train: object, validation: object) -> None:
    result = kd.compress(teacher, train, validation, max_bytes=50_000)
    assert_type(result.best, TFLiteModel)
    assert_type(result.drop, float)
    kd.compress(teacher, train, validation, max_bytes="small")  # type: ignore[arg-type]


def export(student: keras.Model, test: object) -> None:
    file = kd.export.to_tflite(student, "student.tflite", "int8", calibration=test)
    assert_type(file, TFLiteModel)
    assert_type(file.path, Path)
    assert_type(file.size, int)
    evaluation = kd.export.evaluate(file, [(np.zeros(1), np.zeros(1))], student)
    assert_type(evaluation, Evaluation)
    assert_type(evaluation.accuracy, float | None)
    assert_type(kd.export.benchmark(Path("student.tflite"), runs=10), Benchmark)
    assert_type(kd.export.best(student, test, max_drop=1), TFLiteModel)
    assert_type(kd.export.layer_errors(file, student, test), tuple[LayerError, ...])
    kd.export.to_tflite(student, path=None)  # type: ignore[arg-type]
    kd.export.to_tflite(student, "student.tflite", quantisation="int8")  # type: ignore[call-arg]


def report(student: keras.Model, file: TFLiteModel) -> None:
    found = kd.report.compare({"a": student, "b": file, "c": "c.tflite"}, [], student="b")
    assert_type(found, Report)
    assert_type(found["b"], Entry)
    assert_type(found["b"].size, int | None)
    kd.report.compare([student, file], [])  # type: ignore[arg-type]
