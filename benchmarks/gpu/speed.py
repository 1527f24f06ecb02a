"""Variants and table of the speed of a step; `steps.py` measures them.

The bound is the student's own training step plus the teacher's forward pass, both as one program
for many steps. All variants take turns on one card. PyTorch runs the same step, channels_last, in
bfloat16 autocast, compiled.
"""

from benchmarks.gpu.cifar100 import TITLES
from benchmarks.runner.results import mean_sd, table

#: By variant: title, base of the ratio, and the highest ratio that is acceptable.
VARIANTS = {
    "live": ("live teacher", "bound", 1.05),
    "cached": ("stored logits", "student", 1.05),
    "call_per_step": ("live teacher, one call per step as in `fit`", "bound", None),
    "keras": ("`keras.distillation` on JAX", "bound", None),
    "torch": ("PyTorch, `torch.compile`", "bound", None),
    "torch_graphs": ("PyTorch, `torch.compile` with CUDA graphs", "bound", None),
}
BASES = {"bound": "student + teacher", "student": "student alone"}


def report(done):
    """Return the table of ratios and of images per second."""
    pairs = [pair for pair in TITLES if done.where(pair=pair)]
    if not pairs:
        return ""
    header, rows = ["step", "time over"], []
    for pair in pairs:
        header += [f"{' → '.join(TITLES[pair])}: ratio", "images/s"]
    for name, (title, base, limit) in VARIANTS.items():
        target = f" (≤ {limit:.2f})" if limit else ""
        row = [title, f"{BASES[base]}{target}"]
        for pair in pairs:
            for metric, digits in ((name, 3), (f"{name}_images_per_second", 0)):
                runs = [run["metrics"] for run in done.where(pair=pair) if metric in run["metrics"]]
                values = [metrics[metric] for metrics in runs]
                row.append(mean_sd(values, digits=digits) if values else "")
        rows.append(row)
    machines = [
        ", ".join([occasion["device"], *(f"{n} {v}" for n, v in occasion["versions"].items())])
        for occasion in done.about["occasions"]
    ]
    known = "; ".join(dict.fromkeys(machines))
    return f"{table(header, rows)}\n\nBatches of {done.about['batch']}. {known}."
