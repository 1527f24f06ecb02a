"""The primitives of a step: the same on every backend."""

import ast
from pathlib import Path

import keras
import pytest

from keras_kd.training import backend

FOLDER = Path(backend.__file__).parent


def names(module):
    """The `__all__` of a module that may not be importable on this backend."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    ]
    return set(ast.literal_eval(lists[0]))


@pytest.mark.parametrize("module", ["jax_step", "torch_step"])
def test_every_backend_has_the_same_primitives(module):
    assert names(module) | names("single_replica") == names("tensorflow_step")
    assert not names(module) & names("single_replica")


def test_the_primitives_are_those_of_the_current_backend():
    module = f"keras_kd.training.{keras.config.backend()}_step"
    assert backend.update_variables.__module__ == module
    assert names("tensorflow_step") <= set(vars(backend))


def test_what_needs_tensorflow_says_so_elsewhere():
    def require():
        backend.require_tensorflow("A file runs in the step", "path='a.tflite'")

    if keras.config.backend() == "tensorflow":
        require()
        return
    sentence = "A file runs in the step, so it needs the TensorFlow .* Received: path='a.tflite' on"
    with pytest.raises(ValueError, match=sentence):
        require()
