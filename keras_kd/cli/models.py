"""Keras files, loaded so that no code in them runs."""

import re
import zipfile
from pathlib import Path

import keras

_SUFFIX = ".keras"
#: Keras packs without compression, so what unpacks to more than so many times the file is no model.
_LARGEST_EXPANSION = 100


def load_model(path: str | Path, unsafe: bool) -> keras.Model:
    """Loads a `.keras` file, without its optimizer.

    Args:
        path: The file.
        unsafe: Whether Python code in it may run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, is damaged, or holds what is not loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the path of a {_SUFFIX} file. Received: '{path}', which is no file."
        )
    if path.suffix != _SUFFIX or not zipfile.is_zipfile(path):
        raise ValueError(
            f"Expected a {_SUFFIX} file. Received: '{path}', which is none, or is damaged. Write "
            "it with `model.save('model.keras')`."
        )
    unpacked = _unpacked_size(path)
    if unpacked > _LARGEST_EXPANSION * path.stat().st_size:
        raise ValueError(
            f"Expected a {_SUFFIX} file as Keras writes it. Received: '{path}', which would unpack "
            f"to {unpacked:,} bytes, more than {_LARGEST_EXPANSION} times its size."
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=not unsafe)
    except Exception as error:  # Damage shows in many ways.
        raise ValueError(_refusal(path, error, unsafe)) from error
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"Expected a built model in '{path}'. Received: {type(model).__name__}. Call it on one "
            "batch before it is saved."
        )
    return model


def _unpacked_size(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return 0  # Keras will say what is wrong with it.


def _refusal(path: Path, error: Exception, unsafe: bool) -> str:
    """Says why a file is not loaded."""
    text = str(error)
    if not unsafe and "safe_mode" in text:
        return (
            f"Expected a model without code. Received: '{path}', which holds Python code (a Lambda "
            "layer, for example). It would run with your rights, so it is not loaded. If you "
            "trust whoever made the file, pass --unsafe."
        )
    unknown = re.search(r"Could not locate (\w+ '[^']*')", text)
    if unknown:
        return (
            f"Expected a model of Keras's and keras_kd's layers. Received: '{path}', which needs "
            f"the {unknown[1]}: its code is not in the file. Use keras_kd from Python, where that "
            "code is imported."
        )
    return (
        f"Expected a {_SUFFIX} file that Keras loads. Received: '{path}', over which it fails: "
        f"{_first_sentence(text) or type(error).__name__}. It is damaged, or of another version "
        "of Keras: save the model again."
    )


def _first_sentence(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line.split(". ")[0].rstrip(".")[:300]
