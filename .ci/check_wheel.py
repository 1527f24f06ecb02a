"""Run the example of the README with the package of the wheel, not with that of the checkout.

Usage: python -P check_wheel.py FOLDER, where the wheel is installed in FOLDER.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def main() -> None:
    """Run the example in an empty folder."""
    folder = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(folder))
    import keras_kd

    assert Path(keras_kd.__file__).is_relative_to(folder), keras_kd.__file__
    assert (folder / "keras_kd" / "py.typed").is_file()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        namespace = {}
        for snippet in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
            exec(
                compile(re.sub(r"epochs=\d+", "epochs=1", snippet), README.name, "exec"), namespace
            )
        assert list(Path().glob("*.tflite")), "the example wrote no .tflite file"
    print(f"keras_kd {keras_kd.__version__} works from the wheel.")


if __name__ == "__main__":
    main()
