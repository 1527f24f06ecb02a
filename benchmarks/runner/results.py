"""Results of a benchmark as JSON, and how tables and charts show them."""

import json
import statistics
from pathlib import Path

from keras_kd.files import atomic_write


class Done:
    """Finished runs of a benchmark: one `{cell, seed, metrics, seconds}` each.

    Args:
        runs: The finished runs. Defaults to none.
        about: What applies to all runs, such as versions and machine. Defaults to nothing.
    """

    def __init__(self, runs=(), about=None):
        self.runs = list(runs)
        self.about = about or {}

    @classmethod
    def load(cls, path: Path):
        """Read the runs of a file; without a file there are none."""
        if not path.exists():
            return cls()
        content = json.loads(path.read_text("utf-8"))
        return cls(content.pop("runs"), content)

    def save(self, path: Path):
        """Write a JSON file with one line for each run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(self._to_json(), "utf-8")

    def _to_json(self):
        header = [f"{_dump(key)}: {_dump(value)},\n" for key, value in self.about.items()]
        runs = ",\n".join(f"  {_dump(run)}" for run in self.runs)
        return "{\n" + "".join(f" {line}" for line in header) + f' "runs": [\n{runs}\n ]\n}}\n'

    def add(self, cell, seed, metrics, seconds):
        self.runs.append(
            {"cell": cell, "seed": seed, "metrics": metrics, "seconds": round(seconds, 1)}
        )

    def __contains__(self, job):
        cell, seed = job
        return any(run["cell"] == cell and run["seed"] == seed for run in self.runs)

    def where(self, **values):
        """Return the runs whose cell has these values."""
        return [run for run in self.runs if values.items() <= run["cell"].items()]

    def values(self, metric, **values):
        """Return a metric of the runs whose cell has these values, in order of the seeds."""
        runs = sorted(self.where(**values), key=lambda run: run["seed"])
        return [run["metrics"][metric] for run in runs]

    def best(self, metric, keys, **values):
        """Return the settings of `keys` with the highest mean, among the cells with `values`."""
        by_setting = {}
        for run in self.where(**values):
            setting = tuple(run["cell"].get(key) for key in keys)
            by_setting.setdefault(setting, []).append(run["metrics"][metric])
        best = max(by_setting, key=lambda setting: statistics.mean(by_setting[setting]))
        return dict(zip(keys, best, strict=True))


def mean_sd(values, scale=1.0, digits=2):
    """Return `mean ± sd` with non-breaking spaces, or the number alone if there is only one."""
    values = [scale * value for value in values]
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1\u00a0run)"
    return f"{statistics.mean(values):.{digits}f}\u00a0±\u00a0{statistics.stdev(values):.{digits}f}"


def measured_on(done):
    """Return a sentence about the machine of the runs."""
    return (
        f"Measured on {done.about['machine']}; TensorFlow {done.about['versions']['tensorflow']}."
    )


def table(header, rows):
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def save_chart(figure, path):
    """Write a matplotlib figure as SVG; the same numbers give the same file."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    matplotlib.pyplot.close(figure)


def _dump(value):
    return json.dumps(value, ensure_ascii=False)
