"""ResNet32x4 to ResNet8x4 on 10 classes of CIFAR-100, in images of 16×16.

With a quarter of the pixels, more epochs fit into the time; a network this deep needs them.
"""

from benchmarks.accuracy.cifar100_pairs import Pair

PAIR = Pair(
    "resnet32x4", "resnet8x4", ("ResNet32x4", "ResNet8x4"), teacher_epochs=40, epochs=12, size=16
)
plan, run, report = PAIR.plan, PAIR.run, PAIR.report
