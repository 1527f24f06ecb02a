"""Process that times the distillation step in plain PyTorch on the GPU, if there is one.

It gets the two networks as JSON, and the batch size: `torch_process.py TEACHER STUDENT 128`. A
network is `["vgg", blocks]` or `["resnet", [blocks, filters]]`; see examples/cifar100_networks.py.
It prints a line with the names of the steps that are ready. For each line `NAME COUNT` that it
reads, it runs that many steps and prints how many seconds they took.
"""

import json
import sys
import time
import traceback

import torch
from torch import nn
from torch.nn import functional

CLASSES, TEMPERATURE, LABEL_WEIGHT = 100, 4.0, 0.1
#: Names of the variants, and the modes of `torch.compile`.
MODES = {"torch": None, "torch_graphs": "reduce-overhead"}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def convolution(channels, width, size=3, stride=1, bias=False):
    conv = nn.Conv2d(channels, width, size, stride, padding=size // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(width))


class Residual(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.first = convolution(channels, width, stride=stride)
        self.second = convolution(width, width)
        self.shortcut = nn.Identity()
        if stride > 1 or channels != width:
            self.shortcut = convolution(channels, width, 1, stride)

    def forward(self, x):
        out = self.second(functional.relu(self.first(x)))
        return functional.relu(out + self.shortcut(x))


def build_vgg(blocks):
    layers, channels = [], 3
    for number, widths in enumerate(blocks, 1):
        for width in widths:
            layers += [convolution(channels, width, bias=True), nn.ReLU()]
            channels = width
        if number <= 3:
            layers.append(nn.MaxPool2d(2))
    return layers, channels


def build_resnet(blocks, filters):
    layers, channels = [convolution(3, filters[0]), nn.ReLU()], filters[0]
    for stage, width in enumerate(filters[1:], 1):
        for i in range(blocks):
            layers.append(Residual(channels, width, 2 if stage > 1 and i == 0 else 1))
            channels = width
    return layers, channels


def build(kind, shape):
    layers, channels = build_vgg(shape) if kind == "vgg" else build_resnet(*shape)
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
    return nn.Sequential(*layers).to(DEVICE, memory_format=torch.channels_last)


def make_step(teacher, student, batch, mode):
    """Return a function that runs a step on one of 8 batches."""
    teacher, student = build(*teacher).eval().requires_grad_(False), build(*student)
    optimizer = torch.optim.SGD(
        student.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, fused=DEVICE == "cuda"
    )
    x = torch.randn(8, batch, 3, 32, 32, device=DEVICE)
    x = [one.to(memory_format=torch.channels_last) for one in x]
    y = torch.randint(0, CLASSES, (8, batch), device=DEVICE)

    def compute_loss(x, y):
        with torch.autocast(DEVICE, torch.bfloat16):
            with torch.no_grad():
                teacher_logits = teacher(x)
            student_logits = student(x)
        soft = functional.kl_div(
            functional.log_softmax(student_logits.float() / TEMPERATURE, -1),
            functional.log_softmax(teacher_logits.float() / TEMPERATURE, -1),
            reduction="batchmean",
            log_target=True,
        )
        hard = functional.cross_entropy(student_logits.float(), y)
        return LABEL_WEIGHT * hard + (1 - LABEL_WEIGHT) * TEMPERATURE**2 * soft

    compiled = torch.compile(compute_loss, mode=mode)

    def step(i):
        optimizer.zero_grad(set_to_none=True)
        compiled(x[i % 8], y[i % 8]).backward()
        optimizer.step()

    return step


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main(teacher, student, batch):
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    networks = json.loads(teacher), json.loads(student)
    steps = {}
    for name, mode in MODES.items():
        try:
            steps[name] = make_step(*networks, int(batch), mode)
            for i in range(12):  # Compiles, and records the CUDA graphs.
                steps[name](i)
            synchronize()
        except Exception:  # The other mode does not need this one.
            traceback.print_exc()
            steps.pop(name, None)
    print("ready", *steps, flush=True)
    for line in sys.stdin:
        name, count = line.split()
        start = time.perf_counter()
        for i in range(int(count)):
            steps[name](i)
        synchronize()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
