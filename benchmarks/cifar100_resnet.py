"""ResNet32x4 to ResNet8x4 on 10 classes of CIFAR-100."""

from benchmarks.cifar100_pairs import Pair

PAIR = Pair("resnet32x4", "resnet8x4", ("ResNet32x4", "ResNet8x4"), teacher_epochs=10)
plan, run, report = PAIR.plan, PAIR.run, PAIR.report
