"""Every message on the page of problems exists, in the package or in Keras and TensorFlow."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
FOREIGN = "## Messages of Keras and TensorFlow"
#: Where Keras and TensorFlow have their messages; `None` for their native code.
SOURCES = {
    "will be ignored since": "keras/src/trainers/data_adapters/__init__.py",
    "triggered tf.function": "tensorflow/python/eager/polymorphic_function/polymorphic_function.py",
    "Your input ran out of data": "keras/src/trainers/epoch_iterator.py",
    "Skipping variable loading": "keras/src/optimizers/base_optimizer.py",
    "You are saving a model": "keras/src/saving/saving_lib.py",
    "The structure of": "keras/src/models/functional.py",
    "oneDNN custom operations": None,
    "The Conv2D op currently": None,
    "This TensorFlow binary is": None,
    "Could not find cuda drivers": None,
    "Compiled cluster using XLA": None,
    "Created TensorFlow Lite": None,
    "Local rendezvous is aborting": None,
}


def quoted(text):
    """The messages of a part of the page."""
    return [message for _, message in re.findall(r"\*\*(``?)(.+?)\1\*\*", text)]


OWN, OTHERS = PAGE.read_text().split(FOREIGN)


def texts_of(path):
    """The texts in a source, with `…` for each part that is computed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(parts)


@cache
def package_texts():
    return "\n".join(text for path in (ROOT / "keras_kd").rglob("*.py") for text in texts_of(path))


def pattern(message):
    """Matches a message within one line; a part that differs stands for anything."""
    return ".*".join(re.escape(part) for part in message.split("…"))


@pytest.mark.parametrize("message", quoted(OWN))
def test_a_message_is_one_of_the_package(message):
    assert len(message.replace("…", "").strip()) > 15
    assert re.search(pattern(message), package_texts()), message


@pytest.mark.parametrize("message", quoted(OTHERS))
def test_a_message_of_keras_or_tensorflow_is_listed_with_its_source(message):
    (source,) = (path for start, path in SOURCES.items() if message.startswith(start))
    if source is None:
        return
    package, _, rest = source.partition("/")
    path = Path(importlib.util.find_spec(package).origin).parent / rest
    assert any(message in text for text in texts_of(path)), message


def test_every_message_has_a_remedy():
    text = PAGE.read_text()
    parts = re.split(r"^\*\*`", text, flags=re.MULTILINE)[1:]
    assert len(parts) > 60
    for part in parts:
        assert len(re.findall("^- Remedy: ", part, re.MULTILINE)) == 1, part
