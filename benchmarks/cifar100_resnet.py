"""ResNet32x4 to ResNet8x4 on 10 classes of CIFAR-100, in images of 16×16.

At their full size ten epochs take a core a third of an hour and bring a ResNet32x4 to a third of
the answers; on a quarter of the pixels there is time for four times as many.
"""

from benchmarks.cifar100_pairs import Pair

TITLES = ("ResNet32x4", "ResNet8x4")
PAIR = Pair("resnet32x4", "resnet8x4", TITLES, teacher_epochs=40, epochs=12, size=16)
plan, run, report = PAIR.plan, PAIR.run, PAIR.report
