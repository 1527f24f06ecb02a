"""The trainings of the methods that are compared."""

import keras

import keras_kd as kd
from benchmarks.gpu.cifar100 import METHODS
from benchmarks.gpu.epochs import Training, warmup
from benchmarks.gpu.networks import CLASSES, build

#: Weight of decoupled distillation's non-target part, by pair, as in mdistiller.
BETA = {"vgg": 6.0, "resnet": 8.0, "tiny": 6.0}


def build_training(method, pair, student, recipe):
    """Return the training of a student by a method; the teachers' logits are looked up."""
    network = build(student)
    count = len(METHODS[method][1])
    if not count:
        return Training(network, network, recipe)
    names = [f"teacher_{i}" for i in range(count)]
    distiller = build_distiller(method, pair, *with_logits(network, names))
    by_epoch = ()
    if method == "dkd":
        by_epoch = ((distiller.distillation_losses[0].weight, warmup),)

    def inputs(x, logits):
        return {"image": x, **dict(zip(names, logits, strict=True))}

    return Training(distiller, network, recipe, inputs, by_epoch)


def build_distiller(method, pair, student, teachers):
    """Return the distiller of a method."""
    if method == "default":
        return kd.Distiller(student, teachers, kd.losses.SoftTargets())
    if method == "dkd":
        loss = kd.losses.DecoupledKD(alpha=1.0, beta=BETA[pair], temperature=4.0)
        return kd.Distiller(student, teachers, loss, student_loss_weight=1.0)
    if method == "dist":
        loss = kd.losses.DIST(beta=2.0, gamma=2.0, temperature=4.0)
        return kd.Distiller(student, teachers, loss, student_loss_weight=1.0)
    loss = kd.losses.SoftTargets(temperature=4.0, weight=0.9)
    weighting = {"screened": kd.weighting.Screening(keep=2)}.get(method)
    return kd.Distiller(student, teachers, loss, student_loss_weight=0.1, weighting=weighting)


def with_logits(student, names):
    """Return the student with logits of teachers beside the image, and teachers that output them.

    Both take a dict of all of them. The student ignores the logits.
    """

    def inputs():
        logits = {name: keras.Input((CLASSES,), name=name) for name in names}
        return {"image": keras.Input(student.input_shape[1:], name="image"), **logits}

    given = inputs()
    teachers = []
    for name in names:
        own = inputs()
        outputs = keras.layers.Identity(name=f"{name}_logits")(own[name])
        teachers.append(kd.Teacher(keras.Model(own, outputs, name=name), outputs="logits"))
    return keras.Model(given, student(given["image"]), name=f"{student.name}_and_logits"), teachers
