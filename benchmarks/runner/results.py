"""The finished jobs of a benchmark, and the numbers made of them."""

import json
import os
import statistics
from pathlib import Path


class Done:
    """Finished jobs, kept as JSON: one `{cell, seed, metrics, seconds}` each."""

    def __init__(self, runs=(), about=None):
        self.runs = list(runs)
        self.about = about or {}

    @classmethod
    def load(cls, path: Path):
        if not path.exists():
            return cls()
        content = json.loads(path.read_text())
        return cls(content.pop("runs"), content)

    def save(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({**self.about, "runs": self.runs}, indent=1) + "\n")
        os.replace(temporary, path)

    def add(self, cell, seed, metrics, seconds):
        self.runs.append(
            {"cell": cell, "seed": seed, "metrics": metrics, "seconds": round(seconds, 1)}
        )

    def __contains__(self, job):
        cell, seed = job
        return any(run["cell"] == cell and run["seed"] == seed for run in self.runs)

    def where(self, **values):
        """The runs whose cell has these values."""
        return [r for r in self.runs if values.items() <= r["cell"].items()]

    def values(self, metric, **values):
        """A metric of those runs, in order of the seeds."""
        runs = sorted(self.where(**values), key=lambda run: run["seed"])
        return [run["metrics"][metric] for run in runs]

    def best(self, metric, keys, **values):
        """Of the cells that have `values`, the settings of `keys` with the highest mean."""
        by_setting = {}
        for run in self.where(**values):
            setting = tuple(run["cell"].get(key) for key in keys)
            by_setting.setdefault(setting, []).append(run["metrics"][metric])
        best = max(by_setting, key=lambda setting: statistics.mean(by_setting[setting]))
        return dict(zip(keys, best, strict=True))


def mean_sd(values, scale=1.0, digits=2):
    """`mean ± sd` that no line break parts; of a single number, which has no spread, the number."""
    values = [scale * value for value in values]
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1\u00a0run)"
    return f"{statistics.mean(values):.{digits}f}\u00a0±\u00a0{statistics.stdev(values):.{digits}f}"


def on(done):
    """Where a table's times were measured."""
    return (
        f"Measured on {done.about['machine']}; TensorFlow {done.about['versions']['tensorflow']}."
    )


def table(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def save_chart(figure, path):
    """Writes a figure of matplotlib as SVG: the same numbers give the same file."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    matplotlib.pyplot.close(figure)
