"""The distillation step in plain PyTorch, channels_last, on one thread.

Run with a Python that has PyTorch: `python torch_step.py 28×28×1`. For each number that is written
to it, it runs that many steps and answers with the seconds they took.
"""

import importlib.util
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

# Past the package, which needs Keras.
spec = importlib.util.spec_from_file_location(
    "steps", Path(__file__).parents[1] / "shared" / "step_networks.py"
)
steps = importlib.util.module_from_spec(spec)
spec.loader.exec_module(steps)


def convolutional(filters, units, shape):
    layers, channels, size = [], shape[-1], shape[0]
    for width in filters:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, size = width, size // 2
    layers += [nn.Flatten(), nn.Linear(channels * size**2, units), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(units, steps.CLASSES))
    return model.to(memory_format=torch.channels_last)


def main(images):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = steps.SHAPES[images]
    teacher = convolutional(*steps.TEACHERS[images], shape).eval()
    student = convolutional(*steps.STUDENTS[images], shape)
    optimizer = torch.optim.Adam(student.parameters())
    x = torch.rand(8, steps.BATCH, shape[-1], *shape[:2])
    x = [batch.to(memory_format=torch.channels_last) for batch in x]
    y = torch.randint(0, steps.CLASSES, (8, steps.BATCH))

    def step(i):
        with torch.no_grad():
            teacher_outputs = teacher(x[i % 8])
        optimizer.zero_grad(set_to_none=True)
        answer = student(x[i % 8])
        soft = functional.kl_div(
            functional.log_softmax(answer / steps.TEMPERATURE, -1),
            functional.log_softmax(teacher_outputs / steps.TEMPERATURE, -1),
            reduction="batchmean",
            log_target=True,
        )
        hard = functional.cross_entropy(answer, y[i % 8])
        loss = steps.LABELS * hard + soft * steps.TEMPERATURE**2
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
