"""VGG13 to VGG8 on 10 classes of CIFAR-100."""

from benchmarks.accuracy.cifar100_pairs import Pair

PAIR = Pair("vgg13", "vgg8", ("VGG13", "VGG8"), teacher_epochs=24, epochs=8)
plan, run, report = PAIR.plan, PAIR.run, PAIR.report
