"""Settings of TensorFlow for the few small steps of a test.

Results stay the same. The demo, the benchmarks and child processes that show what a user has do
without them.
"""

import functools
import types
import typing

import keras
import tensorflow as tf
from tensorflow.lite.python import lite


def configure():
    """Turn off what takes longer than it saves."""
    _convert_without_collecting()
    _load_once()
    _leave_functions_unconverted()
    _set_plain_attributes_directly()
    _run_kernels_directly()
    _iterate_untuned()
    _keep_graphs_as_they_are()
    _remember_protocols()


def _convert_without_collecting():
    """Do not collect the garbage of the whole process after each conversion to TFLite."""
    lite.gc = types.SimpleNamespace(collect=lambda: 0)


def _load_once():
    """Load a SavedModel once for each conversion; the converter loads it twice."""
    load = lite._load

    @functools.lru_cache(maxsize=1)
    def load_cached(folder, tags):
        return load(folder, set(tags))

    lite._load = lambda folder, tags: load_cached(folder, frozenset(tags))


def _leave_functions_unconverted():
    """Do not look for Python control flow of tensors in code that Keras calls without AutoGraph."""
    from tensorflow.python.autograph.core import config

    rules = (config.DoNotConvert(module) for module in ("keras_kd", "tests"))
    config.CONVERSION_RULES = (*rules, *config.CONVERSION_RULES)


def _set_plain_attributes_directly():
    """Set new attributes of layers that have nothing to track without asking every tracker."""
    plain = frozenset({type(None), bool, int, float, str})
    set_tracked = keras.Layer.__setattr__

    def set_attribute(layer, name, value):
        if type(value) in plain and name not in layer.__dict__:
            object.__setattr__(layer, name, value)
        else:
            set_tracked(layer, name, value)

    keras.Layer.__setattr__ = set_attribute


def _run_kernels_directly():
    """Run a new eager operation without a function around it, which takes 0.5 ms to optimize.

    A new seed makes all operations new.
    """
    from tensorflow.python import pywrap_tfe

    pywrap_tfe.TFE_ContextOptionsSetRunEagerOpAsFunction = lambda options, value: None


def _iterate_untuned():
    """Iterate over every data set without autotuning, whose thread ends seconds after the data.

    Optimizing the graph of a data set takes longer than the few samples that it makes faster.
    """
    iterate = tf.data.Dataset.__iter__

    def iterate_untuned(dataset):
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return iterate(dataset.with_options(options))

    tf.data.Dataset.__iter__ = iterate_untuned


def _keep_graphs_as_they_are():
    """Skip the optimization of graphs."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _remember_protocols():
    """Look up once per class whether its objects follow a protocol of TensorFlow.

    Python 3.11 compares all attributes of the object each time that a tensor is recognized.
    """
    protocol, known = type(typing.Protocol), {}
    compare = protocol.__instancecheck__

    def is_instance(cls, instance):
        if not cls.__module__.startswith("tensorflow."):
            return compare(cls, instance)
        key = cls, type(instance)
        if key not in known:
            known[key] = compare(cls, instance)
        return known[key]

    protocol.__instancecheck__ = is_instance
