"""Benchmarks by name."""

import importlib

MODULES = {
    "against_keras_distillation": "benchmarks.accuracy.against_keras_distillation",
    "backend_step": "benchmarks.speed.backend_step",
    "cache_join": "benchmarks.cache.join",
    "cache_memory": "benchmarks.cache.memory",
    "cache_top_k": "benchmarks.cache.top_k",
    "cache_training": "benchmarks.cache.training",
    "cached_step": "benchmarks.speed.cached_step",
    "cifar100_resnet": "benchmarks.accuracy.cifar100_resnet",
    "cifar100_vgg": "benchmarks.accuracy.cifar100_vgg",
    "compatibility": "benchmarks.export.compatibility",
    "compression": "benchmarks.export.compression",
    "epoch_ends": "benchmarks.speed.epoch_ends",
    "export_formats": "benchmarks.export.formats",
    "few_labels": "benchmarks.accuracy.few_labels",
    "first_step": "benchmarks.speed.first_step",
    "fuzzing": "benchmarks.robustness.fuzzing",
    "headline": "benchmarks.export.headline",
    "imdb_keras_hub": "benchmarks.accuracy.imdb_keras_hub",
    "int8_export": "benchmarks.export.int8",
    "language_model": "benchmarks.accuracy.language_model",
    "loss_cost": "benchmarks.speed.loss_cost",
    "loss_shelf": "benchmarks.accuracy.loss_shelf",
    "many_teachers": "benchmarks.accuracy.many_teachers",
    "merging_classes": "benchmarks.accuracy.merging_classes",
    "noisy_teacher": "benchmarks.accuracy.noisy_teacher",
    "pruning_engines": "benchmarks.export.pruning_engines",
    "qat_exactness": "benchmarks.export.qat_exactness",
    "quantization_aware": "benchmarks.export.quantization_aware",
    "regimes": "benchmarks.accuracy.regimes",
    "replicas": "benchmarks.robustness.replicas",
    "scaling": "benchmarks.speed.scaling",
    "self_distillation": "benchmarks.accuracy.self_distillation",
    "shrink": "benchmarks.export.shrink",
    "shrink_architectures": "benchmarks.export.shrink_architectures",
    "shrink_bytes": "benchmarks.export.shrink_bytes",
    "shrink_importance": "benchmarks.export.shrink_importance",
    "soak": "benchmarks.robustness.soak",
    "step_cost": "benchmarks.speed.step_cost",
    "teacher_class_camvid": "benchmarks.teacher_class.camvid",
    "teacher_class_cifar10": "benchmarks.teacher_class.cifar10",
    "teacher_class_fashion_mnist": "benchmarks.teacher_class.fashion_mnist",
    "teacher_class_imdb": "benchmarks.teacher_class.imdb",
    "teacher_class_mnist": "benchmarks.teacher_class.mnist",
    "teacher_class_speed": "benchmarks.teacher_class.speed",
    "teacher_class_students": "benchmarks.teacher_class.students",
    "teacher_class_transfer": "benchmarks.teacher_class.transfer",
    "teacher_class_variants": "benchmarks.teacher_class.variants",
    "teacher_precision": "benchmarks.accuracy.teacher_precision",
    "teacher_to_phone": "benchmarks.export.teacher_to_phone",
    "teachers_cost": "benchmarks.speed.teachers_cost",
    "tutorial": "benchmarks.accuracy.tutorial",
}
#: Benchmarks of `python -m benchmarks.gpu`, which needs JAX and a GPU: here are only their tables.
ELSEWHERE = {
    "gpu_cifar100": "benchmarks.gpu.cifar100",
    "gpu_speed": "benchmarks.gpu.speed",
}


def load(name):
    """Import the module of a benchmark."""
    return importlib.import_module(_module(name))


def results_path(folder, name):
    """Return the file of a benchmark's results: `folder/question/name.json`."""
    question = _module(name).split(".")[1]
    return folder / question / f"{name}.json"


def _module(name):
    return {**MODULES, **ELSEWHERE}[name]
