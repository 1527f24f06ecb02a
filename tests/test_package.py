"""The public names: lazy, complete, and known to Keras when it loads a saved object."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_kd as kd
from keras_kd.models.activation_range import ActivationRange, FloatBarrier, IntegerRounding
from keras_kd.models.rounded_layers import ROUNDED
from tests import toy

DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")

LOAD = """
import json, sys
import keras, keras_kd as kd
kd.UNLABELED
for path in sys.argv[2:]:
    print(type(keras.saving.load_model(path)).__name__)
for config in json.load(open(sys.argv[1])):
    print(type(keras.saving.deserialize_keras_object(config)).__name__)
"""


def run_python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.subprocess
def test_the_import_loads_neither_keras_nor_tensorflow():
    code = "import sys, keras_kd; print(keras_kd.__version__, *dir(keras_kd), *sys.modules)"
    words = run_python(code)
    assert words[0] == kd.__version__
    assert {"Distiller", "losses", "UNLABELED", "keras_kd.version"} <= set(words)
    assert not {"keras", "tensorflow", "numpy"} & set(words)


@pytest.mark.parametrize("name", kd.__all__)
def test_every_public_name_can_be_imported(name):
    value = getattr(kd, name)
    space = {}
    exec(f"from keras_kd import {name}", space)
    assert space[name] is value
    assert name in dir(kd)
    if not inspect.ismodule(value):
        assert getattr(value, "__name__", name) == name


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'keras_kd' has no attribute 'Destiller'"):
        kd.Destiller  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Destiller'"):
        from keras_kd import Destiller  # noqa: F401


def test_editors_see_the_same_names():
    tree = ast.parse(Path(kd.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    static = {}
    for statement in block.body:
        for alias in statement.names:
            assert alias.asname == alias.name  # How a stub exports a name.
            static[alias.name] = statement.module
    assert sorted(static) == sorted(kd.__all__)
    for name, module in static.items():
        member = getattr(kd, name)
        home = member.__name__.rpartition(".")[0] if inspect.ismodule(member) else module
        assert home == module
    assert Path(kd.__file__).with_name("py.typed").exists()


def make_loss(cls):
    """A loss with its defaults, or with what it needs: a number, taps or a loss."""
    needed = ((), (1.0,), ("conv", "conv"), ("conv", "conv", 8), (kd.losses.SoftTargets(),))
    for arguments in needed:
        try:
            return cls(*arguments)
        except TypeError:
            continue
    raise AssertionError(f"no arguments for {cls}")


@pytest.fixture(scope="module")
def serializable():
    """Losses, weightings, noise, and the layers of quantized models."""
    losses = [
        make_loss(cls)
        for name, cls in vars(kd.losses).items()
        if inspect.isclass(cls) and cls is not kd.losses.DistillationLoss
    ]
    weighting = kd.weighting
    weightings = [
        *(weighting.Uniform(), weighting.Fixed([1.0, 2.0]), weighting.CrossEntropy()),
        *(weighting.Entropy(), weighting.Screening(keep=1), weighting.ByGroup()),
    ]
    arguments = {"Embedding": (9, 4), "Dense": (4,), **dict.fromkeys(DEPTHWISE, (3,))}
    layers = [
        ActivationRange(),
        FloatBarrier(),
        IntegerRounding("kernel"),
        *(made(*arguments.get(of.__name__, (4, 3))) for of, made in ROUNDED.items()),
    ]
    return [*losses, *weightings, kd.noise.LogitNoise(0.1), *layers]


@pytest.fixture(scope="module")
def trainers():
    """One model of each class that trains students."""
    student, teacher = toy.cnn("student"), toy.cnn("teacher", seed=1)
    models = [
        kd.Distiller(student, teacher),
        kd.SelfDistiller(toy.cnn("self"), decay=0.9),
        kd.MutualLearning([toy.cnn("a"), toy.cnn("b", seed=1)]),
        kd.DeepSupervision(toy.cnn("deep"), ["conv"]),
        kd.TeacherClass(teacher, "features", lambda units: toy.cnn(None, classes=units), n=2),
    ]
    for model in models:
        model.compile("sgd", *([] if isinstance(model, kd.TeacherClass) else [toy.sparse_loss()]))
    return models


@pytest.mark.slow
@pytest.mark.subprocess
def test_keras_loads_every_class_after_the_first_use_of_the_package(
    serializable, trainers, tmp_path
):
    paths = [tmp_path / f"{type(model).__name__}.keras" for model in trainers]
    for model, path in zip(trainers, paths, strict=True):
        model.save(path)
    configs = tmp_path / "configs.json"
    configs.write_text(json.dumps([keras.saving.serialize_keras_object(o) for o in serializable]))
    names = [type(each).__name__ for each in (*trainers, *serializable)]
    assert run_python(LOAD, configs, *paths) == names
    registered = {
        name for name in keras.saving.get_custom_objects() if name.startswith("keras_kd>")
    }
    assert registered == {f"keras_kd>{name}" for name in names}
