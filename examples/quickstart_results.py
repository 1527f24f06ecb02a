"""The measurements, the table and the chart of the quickstart."""

import json

import keras_kd as kd

HEADER = ("model", "accuracy", "parameters", "size", "latency", "times smaller")


def measure(model, quantization, calibration, test, out):
    """Export a model and return the numbers of the file."""
    path = out / f"{model.name}_{quantization}.tflite"
    file = kd.export.to_tflite(model, path, quantization, calibration=calibration)
    result = kd.export.evaluate(file, test, model)
    return {
        "model": f"{model.name.replace('_', ' ')}, {quantization}",
        "accuracy": result.accuracy,
        "agreement": result.agreement,
        "parameters": model.count_params(),
        "bytes": file.size,
        "latency_us": kd.export.benchmark(file).median_us,
    }


def write_results(rows, dataset, out):
    """Print the table, and write it as Markdown and JSON beside a chart."""
    for row in rows:
        row["ratio"] = rows[0]["bytes"] / row["bytes"]
    lines = [
        (
            row["model"],
            f"{row['accuracy']:.2%}",
            f"{row['parameters']:,}",
            f"{row['bytes'] / 1000:.1f} kB",
            f"{row['latency_us']:.1f} µs",
            f"{row['ratio']:.1f}",
        )
        for row in rows
    ]
    print()
    for name, *cells in (HEADER, *lines):
        print(f"{name:<26}" + "".join(f"{cell:>15}" for cell in cells))
    print(
        f"\nThe int8 file predicts the same class as the student for {rows[-1]['agreement']:.1%} "
        f"of the {dataset} test images. One seed; latency on one thread of this machine."
    )
    markdown = [HEADER, ["---"] * len(HEADER), *lines]
    (out / "table.md").write_text("\n".join("| " + " | ".join(x) + " |" for x in markdown) + "\n")
    (out / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    draw_chart(rows, dataset, out / "accuracy_and_size.png")
    print(f"Files, table and chart: {out}/")


def draw_chart(rows, dataset, path):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    styles = [("#555555", "s"), ("#d98032", "o"), ("#2f7fb8", "o"), ("#1b9e5a", "D")]
    for row, (color, marker) in zip(rows, styles, strict=True):
        kilobytes, accuracy = row["bytes"] / 1000, 100 * row["accuracy"]
        label = f"{row['model']}: {accuracy:.1f} %, {kilobytes:.1f} kB"
        axes.scatter(kilobytes, accuracy, s=90, color=color, marker=marker, label=label, zorder=3)
    axes.set_xscale("log")
    axes.margins(0.15)
    axes.set_xlabel("size of the .tflite file, kB (logarithmic)")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{dataset}: accuracy and size of teacher and students")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
