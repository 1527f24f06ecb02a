"""Load Keras files without running code stored in them."""

import re
import zipfile
from pathlib import Path

import keras

from keras_kd import register_classes

_SUFFIX = ".keras"
#: Keras does not compress, so no model unpacks to more than this many times the size of its file.
_LARGEST_EXPANSION = 100


def load_model(path: str | Path, unsafe: bool) -> keras.Model:
    """Load a `.keras` file without its optimizer.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has another format, is damaged, or contains code or custom classes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the path of a {_SUFFIX} file. Received: '{path}', which is not a file."
        )
    if path.suffix != _SUFFIX or not zipfile.is_zipfile(path):
        raise ValueError(
            f"Expected a {_SUFFIX} file. Received: '{path}', which has another format or is "
            "damaged. Write it with `model.save('model.keras')`."
        )
    unpacked = _unpacked_size(path)
    if unpacked > _LARGEST_EXPANSION * path.stat().st_size:
        raise ValueError(
            f"Expected a {_SUFFIX} file written by Keras. Received: '{path}', which would unpack "
            f"to {unpacked:,} bytes, more than {_LARGEST_EXPANSION} times its size."
        )
    register_classes()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=not unsafe)
    except Exception as error:  # Keras raises many types for damaged files.
        raise ValueError(_load_error(path, error, unsafe)) from error
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"Expected a built model in '{path}'. Received: {type(model).__name__}. Call the model "
            "on one batch before you save it."
        )
    return model


def _unpacked_size(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return 0  # Keras reports what is damaged.


def _load_error(path: Path, error: Exception, unsafe: bool) -> str:
    """Explain why a file cannot be loaded."""
    text = str(error)
    if not unsafe and "safe_mode" in text:
        return (
            f"Expected a model without code. Received: '{path}', which contains Python code (a "
            "Lambda layer, for example). The code would run with your permissions. If you trust "
            "the source of the file, pass --unsafe."
        )
    unknown = re.search(r"Could not locate (\w+ '[^']*')", text)
    if unknown:
        return (
            f"Expected a model of layers from Keras and keras_kd. Received: '{path}', which needs "
            f"the {unknown[1]}, whose code is not in the file. Use keras_kd from Python and import "
            "that code first."
        )
    return (
        f"Expected a {_SUFFIX} file that Keras can load. Received: '{path}', which fails with: "
        f"{_first_sentence(text) or type(error).__name__}. The file is damaged or from another "
        "version of Keras: save the model again."
    )


def _first_sentence(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line.split(". ")[0].rstrip(".")[:300]
