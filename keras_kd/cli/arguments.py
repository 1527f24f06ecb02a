"""Arguments of every command. Imports neither Keras nor TensorFlow, so that help is immediate."""

import argparse
import math
from pathlib import Path

from keras_kd.cli import quantities

#: Formats of `kd.export.to_tflite`, repeated here because importing them imports TensorFlow.
QUANTIZATIONS = (
    *("float32", "float16", "dynamic", "int8", "int16x8"),
    *("weight_only_int8", "int4"),
)
BEST = "best"
XNNPACK = {"on": True, "off": False}
#: What outputs may be declared as; repeated here for the same reason.
OUTPUTS = ("auto", "logits", "probabilities", "values", "classes", "binary", "labels")
_OUTPUTS = (
    "what the outputs are, if it cannot be detected: logits or probabilities of classes or "
    "yes-or-no labels, values (numbers, a regression), or the task, classes, binary (one unit) or "
    "labels (several independent ones) (default: auto, by the last layer and the labels)"
)
_DATA = (
    "'digits', a name of TensorFlow Datasets ('mnist', 'fashion_mnist', ...), or a folder with "
    "images, texts or audio by class (train/cat/1.jpg), train.csv with a column 'label', train.npz "
    "with arrays x and y, or train saved by tf.data.Dataset.save; likewise test, validation"
)
_UNSAFE = (
    "run Python code stored in a model file (in a Lambda layer); only for files from a source that "
    "you trust, because the code runs with your permissions"
)


def positive_int(text: str) -> int:
    """Parse a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text}")
    return number


def positive_float(text: str) -> float:
    """Parse a finite number above 0."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text}")
    return number


def non_negative_float(text: str) -> float:
    """Parse a finite number of at least 0."""
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, not {text}")
    return number


def sparsity(text: str) -> float:
    """Parse a number from 0 to below 1."""
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, not {text}")
    return number


def hint(text: str) -> tuple[str, str, float]:
    """Parse a teacher's layer, a student's layer and a weight, separated by colons."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise argparse.ArgumentTypeError(
            f"expected TEACHER_LAYER:STUDENT_LAYER, and perhaps :WEIGHT, not {text}"
        )
    return parts[0], parts[1], non_negative_float(parts[2]) if len(parts) > 2 else 1.0


def names(text: str) -> list[str]:
    """Parse names that are separated by commas."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names separated by commas, not {text}")
    return found


def _add_class_names(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--class-names",
        type=names,
        metavar="NAME,NAME,...",
        help="names of the classes, by label (default: those of the data's folders, if any)",
    )


def _add_data(parser: argparse.ArgumentParser, required: bool, train: bool = True) -> None:
    """Add `--data` and the options that select its splits."""
    group = parser.add_argument_group("data")
    group.add_argument("--data", metavar="NAME_OR_DIR", required=required, help=_DATA)
    if train:
        group.add_argument(
            "--train-split",
            default="train",
            metavar="SPLIT",
            help="split for training or calibration (default: train)",
        )
    group.add_argument(
        "--test-split",
        metavar="SPLIT",
        help="split for evaluation (default: test, or validation if there is no test)",
    )
    group.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="omit files and rows of a folder that cannot be read (default: an error)",
    )


def _add_task(parser: argparse.ArgumentParser, ignore: bool = True) -> None:
    """Add the options that say what the outputs are."""
    group = parser.add_argument_group("outputs")
    group.add_argument("--outputs", choices=OUTPUTS, default="auto", help=_OUTPUTS)
    if ignore:
        group.add_argument(
            "--ignore-class",
            type=int,
            metavar="LABEL",
            help="a label that is not counted, such as 255 for void pixels (default: none)",
        )


def add_distill(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `distill`."""
    parser.add_argument("teacher", metavar="TEACHER.keras", help="a trained model")
    parser.add_argument("student", metavar="STUDENT.keras", help="a built model, trained or not")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="output folder")
    _add_data(parser, required=True)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--loss",
        action="append",
        metavar="NAME",
        help="loss between the outputs of teacher and student, such as soft_targets, outputs_mse, "
        "dist; may be repeated (default: soft_targets, for numbers outputs_mse)",
    )
    group.add_argument(
        "--hint",
        action="append",
        default=[],
        type=hint,
        metavar="TEACHER_LAYER:STUDENT_LAYER[:WEIGHT]",
        help="also match a hidden layer (kd.losses.Hint); may be repeated (default weight: 1)",
    )
    group.add_argument(
        "--temperature",
        type=positive_float,
        help="softmax temperature of the losses (default: that of the loss)",
    )
    group.add_argument(
        "--student-loss-weight",
        type=non_negative_float,
        default=0.5,
        metavar="WEIGHT",
        help="weight of the loss on the labels; 0 trains from the teacher alone (default: 0.5)",
    )
    _add_schedule(group, epochs=30, rate=5e-3)
    group.add_argument("--unsafe", action="store_true", help=_UNSAFE)
    _add_task(parser, ignore=False)


def _add_fine_tuning(parser: argparse.ArgumentParser) -> None:
    """Add what the commands share that train a student further."""
    parser.add_argument("model", metavar="STUDENT.keras", help="a trained model")
    parser.add_argument("--out", metavar="FILE.keras", type=Path, required=True, help="output file")
    _add_data(parser, required=True)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--teacher",
        metavar="TEACHER.keras",
        help="a model that provides targets in this training too (default: none, the labels alone)",
    )
    _add_schedule(group, epochs=10, rate=1e-3)
    group.add_argument("--unsafe", action="store_true", help=_UNSAFE)
    _add_task(parser, ignore=False)


def add_prune(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `prune`."""
    _add_fine_tuning(parser)
    parser.add_argument(
        "--sparsity",
        type=sparsity,
        default=0.8,
        metavar="SHARE",
        help="share of each kernel that becomes zero, from 0 to below 1 (default: 0.8)",
    )


def add_quantize_aware(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `quantize-aware`."""
    _add_fine_tuning(parser)
    parser.add_argument(
        "--bits", type=int, choices=[4, 8], default=8, help="bits of a weight (default: 8)"
    )


def _add_schedule(group: argparse._ArgumentGroup, epochs: int, rate: float) -> None:
    """Add the options of a training with Adam."""
    group.add_argument("--epochs", type=positive_int, default=epochs, help=f"(default: {epochs})")
    group.add_argument("--batch-size", type=positive_int, default=128, help="(default: 128)")
    group.add_argument(
        "--learning-rate",
        type=positive_float,
        default=rate,
        metavar="RATE",
        help=f"initial learning rate (default: {rate:g})",
    )
    group.add_argument(
        "--seed", type=int, default=0, help="seed of the sample order and dropout (default: 0)"
    )


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    parser.add_argument("model", metavar="MODEL.keras", help="a trained model")
    parser.add_argument(
        "--quantization",
        choices=[*QUANTIZATIONS, BEST],
        default="float32",
        help="the format; best tries all of them and keeps the best one within --max-drop "
        "(default: float32)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.tflite",
        type=Path,
        help="output file (default: the path of the model, ending in .tflite)",
    )
    _add_data(parser, required=False)
    group = parser.add_argument_group("file")
    group.add_argument(
        "--max-drop",
        type=non_negative_float,
        metavar="POINTS",
        help="largest drop in accuracy, in percentage points (default: 2, for best 0.5)",
    )
    group.add_argument(
        "--objective",
        choices=["latency", "size"],
        help="criterion of best: the fastest or the smallest file (default: latency)",
    )
    group.add_argument(
        "--io-dtype",
        choices=["float32", "int8", "uint8", "int16"],
        default="float32",
        help="type of inputs and outputs (default: float32)",
    )
    group.add_argument(
        "--answer",
        choices=["softmax", "sigmoid", "argmax"],
        help="operation to append to an output of logits (default: none)",
    )
    _add_class_names(group)
    group.add_argument("--unsafe", action="store_true", help=_UNSAFE)
    _add_task(parser)


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `benchmark`."""
    parser.add_argument("file", metavar="FILE.tflite", help="a .tflite file from any converter")
    parser.add_argument(
        "--runs", type=positive_int, default=200, help="number of timed runs (default: 200)"
    )
    parser.add_argument(
        "--threads",
        type=positive_int,
        nargs="+",
        default=[1],
        metavar="N",
        help="number of threads, or several numbers to compare (default: 1)",
    )
    parser.add_argument(
        "--xnnpack",
        choices=list(XNNPACK),
        nargs="+",
        default=["on"],
        help="whether to use the XNNPACK delegate, or both to compare (default: on)",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    parser.add_argument(
        "models",
        metavar="[NAME=]FILE",
        nargs="+",
        help="a .keras or .tflite file, and its name in the report (default: the file name)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        default="report.html",
        help="output file, ending in .html, .md or .json (default: report.html)",
    )
    _add_data(parser, required=True, train=False)
    group = parser.add_argument_group("report")
    group.add_argument(
        "--teacher",
        metavar="NAME",
        help="model to compare the others with (default: the one called 'teacher', or the first)",
    )
    group.add_argument(
        "--student",
        metavar="NAME",
        help="headline of the report (default: the only other model, or the one called 'student')",
    )
    group.add_argument(
        "--history",
        action="append",
        default=[],
        metavar="NAME=FILE.json",
        help="learning curves of a model, as written by distill; may be repeated",
    )
    group.add_argument("--title", help="heading of the report")
    _add_class_names(group)
    group.add_argument("--unsafe", action="store_true", help=_UNSAFE)
    _add_task(parser)


def add_compress(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compress`."""
    parser.add_argument("teacher", metavar="TEACHER.keras", help="a trained model")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="output folder")
    _add_data(parser, required=True)
    parser.add_argument(
        "--validation-split",
        metavar="SPLIT",
        help="split that files are chosen by (default: validation, or a tenth of training)",
    )
    group = parser.add_argument_group("budget (at least one)")
    for option, kind, unit, text in (
        ("--max-size", quantities.size, "SIZE", "largest file, such as 60kB or 1.5MB"),
        ("--max-latency", quantities.latency, "TIME", "longest run here, such as 800us or 5ms"),
        ("--max-macs", quantities.count, "NUMBER", "most multiplications, such as 2M"),
        ("--max-drop", non_negative_float, "POINTS", "largest drop in accuracy, in points"),
    ):
        group.add_argument(option, type=kind, metavar=unit, help=text)
    group = parser.add_argument_group("search")
    group.add_argument(
        "--trials", type=positive_int, metavar="N", help="students of the first stage (default: 12)"
    )
    group.add_argument(
        "--time-limit",
        type=quantities.duration,
        metavar="TIME",
        help="when the best student so far is trained, such as 30min or 1h (default: none)",
    )
    group.add_argument(
        "--no-labels", action="store_true", help="train from the teacher alone, without labels"
    )
    group.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna storage, to search on several machines (default: a file in the folder)",
    )
    group.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    _add_class_names(group)
    group.add_argument("--unsafe", action="store_true", help=_UNSAFE)
    _add_task(parser, ignore=False)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("keras-kd-demo"),
        help="output folder (default: keras-kd-demo)",
    )
    parser.add_argument(
        "--epochs",
        type=positive_int,
        default=100,
        help="epochs of the student; the teacher trains for at most 30 (default: 100)",
    )
