"""CIFAR-100 as in the papers: VGG13 to VGG8, ResNet32x4 to ResNet8x4, one or several teachers.

The recipe of RepDistiller and mdistiller: 240 epochs in batches of 64, random crops (4 pixels of
padding) and flips, SGD with momentum 0.9 and learning rate 0.05, divided by 10 after 150, 180 and
210 epochs, weight decay 5e-4; soft targets at T = 4 with weight 0.9 and the labels with 0.1. The
teachers are trained first, with the same recipe, and kept in `--out`; a stopped run continues.

    python examples/cifar100.py --pair vgg --method kd
    python examples/cifar100.py --pair resnet --method screened --strategy mirrored
    KERAS_BACKEND=jax python examples/cifar100.py --data cifar100.npz
    python examples/cifar100.py --quick        # only checks that it runs

Needs a GPU for the full length, and the TFDS data set `cifar100` or a `.npz` file with its images.
The backend may be any of Keras; the export to int8 needs TensorFlow to be installed.
"""

import argparse
import contextlib
import json
from pathlib import Path

import keras
from cifar100_data import load_data
from cifar100_networks import build_network
from cifar100_training import EPOCHS, export, fit

import keras_kd as kd

PAIRS = {"vgg": ("vgg13", "vgg8"), "resnet": ("resnet32x4", "resnet8x4")}
METHODS = ("alone", "kd", "dkd", "average", "screened")
BETA = {"vgg": 6.0, "resnet": 8.0}  # Of decoupled distillation, as in mdistiller.


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    scope, replicas = contextlib.nullcontext(), 1
    if options.strategy == "mirrored":
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy()
        scope, replicas = strategy.scope(), strategy.num_replicas_in_sync
    train, test = load_data(options.data, options.seed, options.quick)
    large, small = PAIRS[options.pair]
    several = {"alone": 0, "average": options.teachers, "screened": options.teachers}
    count = several.get(options.method, 1)
    with scope:
        teachers = [load_teacher(large, i, train, test, options) for i in range(count)]
        keras.utils.set_random_seed(options.seed)
        student = build_network(small, width=options.width)
        model = build_distiller(student, teachers, options) if teachers else student
        name = f"{small}_{options.method}_{options.seed}"
        history = fit(model, name, train, test, options)
    row = {
        "backend": keras.config.backend(),
        "pair": options.pair,
        "method": options.method,
        "seed": options.seed,
        "epochs": options.epochs,
        "teachers": len(teachers),
        "replicas": replicas,
        "accuracy": history["val_accuracy"][-1],
        **export(student, options.out / name, train, test),
    }
    (options.out / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row))


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", choices=sorted(PAIRS), default="vgg")
    parser.add_argument("--method", choices=METHODS, default="kd")
    parser.add_argument("--teachers", type=int, default=3, help="number for average and screened")
    parser.add_argument("--strategy", choices=("single", "mirrored"), default="single")
    parser.add_argument("--data", type=Path, help=".npz of images; without it, TFDS is used")
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, help="learning rate drops scale with it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/cifar100"))
    parser.add_argument("--quick", action="store_true", help="one epoch, 16 images, few filters")
    options = parser.parse_args(arguments)
    if options.strategy == "mirrored" and keras.config.backend() != "tensorflow":
        parser.error(
            "--strategy mirrored needs KERAS_BACKEND=tensorflow; on JAX, call "
            "keras.distribution.set_distribution(keras.distribution.DataParallel())"
        )
    options.width = 1 / 8 if options.quick else 1.0
    if options.quick:
        options.epochs = 1
        options.teachers = min(options.teachers, 2)
        options.out = options.out / "quick"
    return options


def load_teacher(name, number, train, test, options):
    """Return a teacher, trained once with the same recipe."""
    path = options.out / f"{name}_{number}.keras"
    if not path.exists():
        keras.utils.set_random_seed(1000 + number)
        teacher = build_network(name, width=options.width)
        fit(teacher, f"{name}_{number}", train, test, options)
        teacher.save(path)
    return keras.models.load_model(path, compile=False)


def build_distiller(student, teachers, options):
    if options.method == "dkd":
        loss = kd.losses.DecoupledKD(alpha=1.0, beta=BETA[options.pair], temperature=4.0)
        return kd.Distiller(student, teachers, loss, student_loss_weight=1.0)
    weighting = None
    if options.method == "screened":
        weighting = kd.weighting.Screening(keep=max(1, len(teachers) - 1))
    loss = kd.losses.SoftTargets(temperature=4.0, weight=0.9)
    return kd.Distiller(student, teachers, loss, student_loss_weight=0.1, weighting=weighting)


if __name__ == "__main__":
    main()
