"""Teacher, student and int8 file on Fashion-MNIST, for the picture of the README.

Images, teacher and student of shared/fashion_mnist.py, with the best settings of
`against_keras_distillation`. All 10,000 test images, after the last epoch.
"""

import statistics
import tempfile
from pathlib import Path

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.fashion_mnist import build_student, load_teacher, student_images
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    compile_and_fit,
    load_arrays,
    sparse_loss,
    to_batches,
)

# Latencies need the machine to themselves.
ALONE = True
EPOCHS = {"alone": 20, "distilled": 60}  # Tuned in `against_keras_distillation`.


def plan(done, seeds, quick):
    return [({"data": "fashion_mnist"}, seed) for seed in range(seeds)]


def run(cell, seed, quick):
    x, y = student_images()
    x_test, y_test = load_arrays(cell["data"], "test")
    teacher = load_teacher(quick)
    metrics = {
        "teacher_parameters": teacher.count_params(),
        "teacher_accuracy": accuracy(teacher, x_test, y_test),
    }
    for method, epochs in EPOCHS.items():
        student = build_student(seed)
        model, inputs = student, x
        if method == "distilled":
            recorded = RecordedTeachers(teacher, x)
            model = kd.Distiller(
                recorded.student(student), recorded.teacher, kd.losses.SoftTargets()
            )
            inputs = recorded.inputs(x)
        settings = {"learning_rate": 1e-2, "epochs": 1 if quick else epochs}
        compile_and_fit(model, inputs, y, loss=sparse_loss(), seed=seed, **settings)
        metrics[f"{method}_accuracy"] = accuracy(student, x_test, y_test)
    with tempfile.TemporaryDirectory() as folder:
        file = kd.export.to_tflite(teacher, Path(folder) / "teacher.tflite")
        metrics |= {"teacher_bytes": file.size, "teacher_us": kd.export.benchmark(file).median_us}
        file = kd.export.to_tflite(student, Path(folder) / "student.tflite", "int8", x)
        metrics |= {
            "student_parameters": student.count_params(),
            "int8_accuracy": kd.export.evaluate(file, to_batches(x_test, y_test)).accuracy,
            "int8_bytes": file.size,
            "int8_us": kd.export.benchmark(file).median_us,
        }
    return metrics


def report(done):
    if not done.runs:
        return ""
    size, micros = _mean(done, "int8_bytes"), _mean(done, "int8_us")
    rows = [
        [
            "teacher, float32",
            f"{_mean(done, 'teacher_parameters'):,.0f}",
            # All students have the same teacher.
            f"{100 * _mean(done, 'teacher_accuracy'):.2f} (1 run)",
            f"{_mean(done, 'teacher_bytes') / 1000:,.1f}",
            f"{_mean(done, 'teacher_us'):.0f}",
        ],
        ["student alone", *_student(done, "alone"), "", ""],
        ["student, distilled", *_student(done, "distilled"), "", ""],
        ["int8 file", *_student(done, "int8"), f"{size / 1000:.1f}", f"{micros:.0f}"],
    ]
    return table(["", "parameters", "test accuracy %", "kB", "µs per image"], rows)


def _student(done, method):
    values = done.values(f"{method}_accuracy")
    return f"{_mean(done, 'student_parameters'):,.0f}", mean_sd(values, 100)


def _mean(done, metric):
    return statistics.mean(done.values(metric))


def chart(done, path):
    """Draw the picture: teacher, students, phone."""
    means = {metric: _mean(done, metric) for metric in done.runs[0]["metrics"]}
    smaller = means["teacher_bytes"] / means["int8_bytes"]
    faster = means["teacher_us"] / means["int8_us"]
    texts = {
        "teacher": (
            f"{means['teacher_parameters'] / 1e6:.1f} M parameters",
            f"{means['teacher_bytes'] / 1e6:.1f} MB, {means['teacher_us']:.0f} µs",
        ),
        "teacher_accuracy": f"{100 * means['teacher_accuracy']:.1f} %",
        "alone": f"{100 * means['alone_accuracy']:.1f} %",
        "distilled": f"{100 * means['distilled_accuracy']:.1f} %",
        "student": f"{means['student_parameters'] / 1e3:.1f} k parameters",
        "int8": f"{100 * means['int8_accuracy']:.1f} %",
        "file": (
            f"{means['int8_bytes'] / 1e3:.0f} kB, {means['int8_us']:.0f} µs",
            f"{smaller:.0f} times smaller",
            f"{faster:.0f} times as fast",
        ),
        "seeds": f"Fashion-MNIST, 5,000 labeled images; means of {len(done.runs)} seeds, "
        "test accuracy after the last epoch",
    }
    path.write_text(_picture(texts))


def _picture(t):
    """Return an SVG with its own background, readable on light and dark pages."""
    card = '<rect x="{}" y="{}" width="{}" height="{}" rx="{}" fill="{}" stroke="{}"/>'
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 330" role="img" '
        'font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" text-anchor="middle">',
        "<title>From a teacher to a student to an int8 file on a phone</title>",
        '<rect width="960" height="330" rx="12" fill="#fbfbfd" stroke="#d9dbe6"/>',
        # The teacher.
        card.format(30, 40, 250, 220, 12, "#e8eaf6", "#5c6bc0"),
        _text(155, 78, "Teacher", 22, "#283593", "bold"),
        _text(155, 150, t["teacher_accuracy"], 44, "#283593", "bold"),
        *[_text(155, 200 + 26 * i, line, 16, "#3f4459") for i, line in enumerate(t["teacher"])],
        # The student, trained alone and distilled.
        card.format(380, 40, 220, 96, 12, "#f3f3f3", "#9e9e9e"),
        _text(490, 68, "Student alone", 16, "#555555"),
        _text(490, 116, t["alone"], 32, "#555555", "bold"),
        card.format(380, 164, 220, 96, 12, "#e0f2f1", "#26a69a"),
        _text(490, 192, "Student, distilled", 16, "#00695c", "bold"),
        _text(490, 240, t["distilled"], 32, "#00695c", "bold"),
        _text(490, 280, t["student"], 14, "#3f4459"),
        # The phone with the file.
        card.format(720, 22, 170, 264, 22, "#263238", "#263238"),
        card.format(730, 44, 150, 214, 6, "#ffffff", "#263238"),
        '<circle cx="805" cy="272" r="7" fill="#90a4ae"/>',
        _text(805, 72, "int8 .tflite", 15, "#00695c", "bold"),
        _text(805, 120, t["int8"], 34, "#00695c", "bold"),
        *[_text(805, 158 + 32 * i, line, 15, "#263238") for i, line in enumerate(t["file"])],
        _arrow(284, 212, 372, 212, "soft targets"),
        _arrow(604, 212, 712, 212, "to_tflite"),
        _text(480, 316, t["seeds"], 13, "#6b7080"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x, y, text, size, color, weight="normal"):
    style = f'font-size="{size}" fill="{color}" font-weight="{weight}"'
    return f'<text x="{x}" y="{y}" {style}>{text}</text>'


def _arrow(x, y, to, end, label):
    head = f"M{to} {end}l-12 -6v12z"
    return (
        f'<path d="M{x} {y}H{to - 10}" stroke="#26a69a" stroke-width="3" fill="none"/>'
        f'<path d="{head}" fill="#26a69a"/>' + _text((x + to) // 2, y - 12, label, 14, "#00695c")
    )
