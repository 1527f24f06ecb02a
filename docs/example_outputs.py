"""Store the output of the examples for docs/examples.md.

    python docs/example_outputs.py [NAME ...]

By default, run the example of the README and all examples that need no download. Each example runs
completely, which takes minutes, except the longest ones: their output is that of `--quick`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
NAMES = (
    *("readme", "quickstart", "few_labels", "self_distillation"),
    *("compress", "shrink", "compress_student"),
)
#: Examples that take ten minutes or longer, or need a GPU.
QUICK = (
    *("teacher_class_mnist", "teacher_class_fashion_mnist", "teacher_class_imdb"),
    *("teacher_class_cifar10", "teacher_class_camvid", "cifar100"),
)
#: Output folders of the examples that write files, as shown in the documentation.
OUT = {
    "quickstart": "build/demo",
    **{
        name: f"build/{name}"
        for name in (
            *("compress", "shrink", "compress_student", "pretrained_teacher"),
            *QUICK,
        )
    },
}
#: Progress lines of Keras and of cache builds.
PROGRESS = re.compile(r"^Epoch \d+/\d+$|^\d+/\d+ - .*$|.*━")
STYLE = re.compile(r"\x1b\[[\d;]*m|\x08")


def main(names: list[str]) -> None:
    """Run the examples and store their output."""
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            out = ["--out", folder] if name in OUT else []
            out += ["--quick"] if name in QUICK else []
            program = [DOCS.parent / "examples" / f"{name}.py", *out]
            if name == "readme":
                snippets = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
                program = ["-c", "\n".join(snippets)]
            command = [sys.executable, *program]
            run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
        text = clean(run.stdout).replace(folder, OUT.get(name, ""))
        (DOCS / "example_outputs" / f"{name}.txt").write_text(text)
        print(f"{name}: {len(text.splitlines())} lines")


def clean(output: str) -> str:
    """Return the output of an example without progress lines."""
    lines = STYLE.sub("", output).splitlines()
    return "\n".join(line for line in lines if not PROGRESS.match(line)).strip() + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
