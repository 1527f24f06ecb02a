"""ResNet32x4 to ResNet8x4 on 10 classes of CIFAR-100, in images of 16×16.

On a quarter of the pixels there is time for more of the epochs that a network this deep needs.
"""

from benchmarks.accuracy.cifar100_pairs import Pair

TITLES = ("ResNet32x4", "ResNet8x4")
PAIR = Pair("resnet32x4", "resnet8x4", TITLES, teacher_epochs=40, epochs=12, size=16)
plan, run, report = PAIR.plan, PAIR.run, PAIR.report
