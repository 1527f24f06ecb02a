"""Knowledge distillation for Keras: from a trained teacher to a verified int8 .tflite.

`import keras_kd` imports neither Keras nor TensorFlow. The first use of a public name does, and
registers all classes of the package with Keras, so that `keras.saving.load_model` finds them. If
Keras is imported already, they are registered at once.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from keras_kd.version import __version__ as __version__

if TYPE_CHECKING:
    from keras_kd import callbacks as callbacks
    from keras_kd import compression as compression
    from keras_kd import datasets as datasets
    from keras_kd import export as export
    from keras_kd import losses as losses
    from keras_kd import report as report
    from keras_kd import testing as testing
    from keras_kd.budget.compress import compress as compress
    from keras_kd.budget.compression import BudgetError as BudgetError
    from keras_kd.cache.keys import keyed as keyed
    from keras_kd.cache.knowledge_cache import KnowledgeCache as KnowledgeCache
    from keras_kd.datasets.mix_unlabeled import mix_unlabeled as mix_unlabeled
    from keras_kd.distillers.base import BaseDistiller as BaseDistiller
    from keras_kd.distillers.deep_supervision import DeepSupervision as DeepSupervision
    from keras_kd.distillers.distiller import Distiller as Distiller
    from keras_kd.distillers.mutual_learning import MutualLearning as MutualLearning
    from keras_kd.distillers.self_distiller import SelfDistiller as SelfDistiller
    from keras_kd.models.pair_taps import pair_taps as pair_taps
    from keras_kd.models.pair_taps import taps as taps
    from keras_kd.recipes.born_again import born_again as born_again
    from keras_kd.recipes.distill_chain import distill_chain as distill_chain
    from keras_kd.recipes.function_matching import function_matching as function_matching
    from keras_kd.recipes.pseudo_label import pseudo_label as pseudo_label
    from keras_kd.recipes.with_teacher_head import with_teacher_head as with_teacher_head
    from keras_kd.teacher_class.teacher_class import TeacherClass as TeacherClass
    from keras_kd.teachers import noise as noise
    from keras_kd.teachers import weighting as weighting
    from keras_kd.teachers.knowledge import Keyed as Keyed
    from keras_kd.teachers.screen_teachers import screen_teachers as screen_teachers
    from keras_kd.teachers.teacher import Teacher as Teacher
    from keras_kd.training.labels import UNLABELED as UNLABELED

#: The module of each public name.
_NAMES = {
    "BaseDistiller": "distillers.base",
    "BudgetError": "budget.compression",
    "DeepSupervision": "distillers.deep_supervision",
    "Distiller": "distillers.distiller",
    "Keyed": "teachers.knowledge",
    "KnowledgeCache": "cache.knowledge_cache",
    "MutualLearning": "distillers.mutual_learning",
    "SelfDistiller": "distillers.self_distiller",
    "Teacher": "teachers.teacher",
    "TeacherClass": "teacher_class.teacher_class",
    "UNLABELED": "training.labels",
    "born_again": "recipes.born_again",
    "compress": "budget.compress",
    "distill_chain": "recipes.distill_chain",
    "function_matching": "recipes.function_matching",
    "keyed": "cache.keys",
    "mix_unlabeled": "datasets.mix_unlabeled",
    "pair_taps": "models.pair_taps",
    "pseudo_label": "recipes.pseudo_label",
    "screen_teachers": "teachers.screen_teachers",
    "taps": "models.pair_taps",
    "with_teacher_head": "recipes.with_teacher_head",
}
#: The public modules.
_PUBLIC_MODULES = {
    "callbacks": "callbacks",
    "compression": "compression",
    "datasets": "datasets",
    "export": "export",
    "losses": "losses",
    "noise": "teachers.noise",
    "report": "report",
    "testing": "testing",
    "weighting": "teachers.weighting",
}
#: The modules that register classes with Keras.
_REGISTERING = (
    "distillers.deep_supervision",
    "distillers.distiller",
    "distillers.mutual_learning",
    "distillers.self_distiller",
    "losses",
    "models.activation_range",
    "models.rounded_layers",
    "teacher_class.teacher_class",
    "teachers.noise",
    "teachers.weighting",
)
__all__ = [*_NAMES, *_PUBLIC_MODULES]  # noqa: PLE0604


def register_classes() -> None:
    """Import every class that is registered with Keras, so that saved objects can be loaded."""
    for module in _REGISTERING:
        importlib.import_module(f"{__name__}.{module}")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    register_classes()
    value = _load(name)
    globals()[name] = value
    return value


def _load(name: str) -> Any:
    """Import a public name.

    Raises:
        ImportError: If it needs TensorFlow, which is not installed.
    """
    try:
        if name in _PUBLIC_MODULES:
            return importlib.import_module(f"{__name__}.{_PUBLIC_MODULES[name]}")
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ImportError(
            f"keras_kd.{name} needs TensorFlow, whatever the Keras backend is: pip install "
            "tensorflow. Training on JAX or PyTorch does not need it."
        ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "keras" in sys.modules:
    register_classes()
