"""Process that times the distillation step in plain PyTorch, channels_last, on one thread.

Run with a Python that has PyTorch: `python -m benchmarks.speed.torch_process 28×28×1`. It prints a
line when it is ready. For each number that it reads, it runs that many steps and prints how many
seconds they took.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional

from benchmarks.shared import step_networks as networks


def build_cnn(filters, units, shape):
    layers, channels, size = [], shape[-1], shape[0]
    for width in filters:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, size = width, size // 2
    layers += [nn.Flatten(), nn.Linear(channels * size**2, units), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(units, networks.CLASSES))
    return model.to(memory_format=torch.channels_last)


def main(images):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = networks.SHAPES[images]
    teacher = build_cnn(*networks.TEACHERS[images], shape).eval()
    student = build_cnn(*networks.STUDENTS[images], shape)
    optimizer = torch.optim.Adam(student.parameters())
    x = torch.rand(8, networks.BATCH, shape[-1], *shape[:2])
    x = [batch.to(memory_format=torch.channels_last) for batch in x]
    y = torch.randint(0, networks.CLASSES, (8, networks.BATCH))

    def step(i):
        with torch.no_grad():
            teacher_logits = teacher(x[i % 8])
        optimizer.zero_grad(set_to_none=True)
        student_logits = student(x[i % 8])
        soft = functional.kl_div(
            functional.log_softmax(student_logits / networks.TEMPERATURE, -1),
            functional.log_softmax(teacher_logits / networks.TEMPERATURE, -1),
            reduction="batchmean",
            log_target=True,
        )
        hard = functional.cross_entropy(student_logits, y[i % 8])
        loss = networks.LABEL_WEIGHT * hard + soft * networks.TEMPERATURE**2
        loss.backward()
        optimizer.step()
        return loss.item()

    step(0)
    print("ready", torch.__version__, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for i in range(int(line)):
            step(i)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
