"""The commands of `keras-kd`. Imports neither Keras nor TensorFlow, so that help is immediate."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from keras_kd.cli import arguments


@dataclass(frozen=True)
class Command:
    """Help and arguments of one command; the module of its name contains `run`."""

    summary: str
    description: str
    examples: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "compress": Command(
        "find the best .tflite file within a budget",
        """\
Choose a student for a budget of size, latency, multiplications or drop in accuracy, distill it from
TEACHER.keras, and write best.tflite, student.keras and report.html to DIR. Run the same line again
to continue an interrupted search; several processes may share one. Exit code 3: no file is within
the budget, and the nearest one is nearest.tflite.""",
        """\
examples:
  keras-kd compress teacher.keras --data digits --max-size 14kB --out small
  keras-kd compress teacher.keras --data ./images --max-size 60kB --max-drop 1 --out small
  keras-kd compress teacher.keras --data fashion_mnist --max-drop 1 --out small \\
      --time-limit 30min""",
        arguments.add_compress,
    ),
    "distill": Command(
        "train a student from a teacher",
        """\
Train the student in STUDENT.keras from the teacher in TEACHER.keras and from the labels, with Adam
and a learning rate that decays to zero. Write student.keras and history.json to DIR.""",
        """\
examples:
  keras-kd distill teacher.keras student.keras --data digits --out distilled
  keras-kd distill teacher.keras student.keras --data fashion_mnist --out distilled \\
      --epochs 60 --learning-rate 0.01 --temperature 4
  keras-kd distill teacher.keras student.keras --data ./mine --out distilled \\
      --loss outputs_mse --student-loss-weight 0""",
        arguments.add_distill,
    ),
    "prune": Command(
        "set the smallest weights of a student to zero",
        """\
Train STUDENT.keras further while its smallest weights become zero, and write the result to
FILE.keras. The file has the same size and compresses better. With --teacher, the teacher
provides targets in this training too, which costs less accuracy than the labels alone.""",
        """\
examples:
  keras-kd prune student.keras --sparsity 0.8 --data digits --out pruned.keras
  keras-kd prune student.keras --teacher teacher.keras --data digits --out pruned.keras""",
        arguments.add_prune,
    ),
    "quantize-aware": Command(
        "train a student with the rounding of its int8 file",
        """\
Train STUDENT.keras further with the rounding of its int8 file, for a student that loses accuracy in
int8, and write the result to FILE.keras. Write the .tflite file with: keras-kd export FILE.keras
--quantization int8. Zeros of a pruned student are kept.""",
        """\
examples:
  keras-kd quantize-aware student.keras --teacher teacher.keras --data digits --out aware.keras
  keras-kd export aware.keras --quantization int8 --data digits""",
        arguments.add_quantize_aware,
    ),
    "export": Command(
        "write a verified .tflite file",
        """\
Convert MODEL.keras to a .tflite file for LiteRT and compare the file with the model on the test
split. The file is written only if it passes.""",
        """\
examples:
  keras-kd export student.keras --quantization int8 --data digits
  keras-kd export student.keras --quantization best --objective size --data digits
  keras-kd export student.keras --quantization float16 --out half.tflite""",
        arguments.add_export,
    ),
    "benchmark": Command(
        "measure the latency of a .tflite file",
        """\
Measure the latency and the memory of FILE.tflite in LiteRT, in a separate process, and count its
parameters and operations. Differences smaller than the noise are not significant.""",
        """\
examples:
  keras-kd benchmark student.tflite
  keras-kd benchmark student.tflite --threads 1 2 4 --xnnpack on off --json""",
        arguments.add_benchmark,
    ),
    "report": Command(
        "compare models and files on one page",
        """\
Compare .keras and .tflite files on the test split and write one page: a single HTML file that needs
no network, or Markdown or JSON. The teacher is the model called 'teacher', or else the first one.
Of more than two models, call one 'student' or choose it with --student.""",
        """\
examples:
  keras-kd report teacher.keras student.keras int8=student.tflite --data digits --out report.html
  keras-kd report teacher=big.keras int8=small.tflite --data digits --out report.md
  keras-kd report teacher.keras student=distilled/student.keras --data digits \\
      --history student=distilled/history.json""",
        arguments.add_report,
    ),
    "demo": Command(
        "run all steps on handwritten digits, in about a minute",
        """\
Train a teacher on the handwritten digits of scikit-learn, then a small student on 300 of them: once
from the labels alone, and once with distill, export and report. Prints each command. Takes about a
minute and needs no network.""",
        """\
examples:
  keras-kd demo
  keras-kd demo --out tried --epochs 30""",
        arguments.add_demo,
    ),
}


def add_command(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the arguments of a command to its parser."""
    COMMANDS[name].add_arguments(parser)
    parser.add_argument(
        "--config",
        metavar="FILE.toml",
        help="read options from a file, such as epochs = 60; the command line comes first",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    group.add_argument("--quiet", action="store_true", help="print no progress, only the result")
    group.add_argument(
        "--verbose", action="store_true", help="also print the messages of TensorFlow"
    )
    parser.set_defaults(command=name, parser=parser)
