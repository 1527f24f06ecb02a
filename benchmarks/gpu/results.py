"""Results of the runs and of each occasion on a machine, written after every run."""

import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version

from benchmarks.runner.results import Done

PACKAGES = ("jax", "keras", "numpy", "torch")
#: What comes back from a machine: files, bytes of one, and bytes of all.
FILES, FILE_BYTES, ALL_BYTES = 8, 16_000_000, 60_000_000


class Results:
    """Results of one benchmark in the work folder, with a copy in the output folder.

    Args:
        name: Name of the benchmark and of its file.
        work: Folder that stays on the machine.
        out: Folder that comes back from it.
        about: What applies to all runs.
    """

    def __init__(self, name, work, out, about):
        self.path, self.copy = work / f"{name}.json", out / f"{name}.json"
        self.done = Done.load(self.path)
        self.done.about = {"benchmark": name, **self.done.about, **about}
        self.occasions = self.done.about.setdefault("occasions", [])
        self.occasions.append({**machine(), "minutes": 0.0, "failures": []})
        self.start = time.perf_counter()

    @property
    def occasion(self):
        """The number of this occasion; its machine is described in `about`."""
        return len(self.occasions) - 1

    @property
    def failures(self):
        """The number of failures of this occasion."""
        return len(self.occasions[-1]["failures"])

    def add(self, cell, seed, metrics, seconds):
        """Add a run and write the files."""
        self.done.add(cell, seed, {**metrics, "occasion": self.occasion}, seconds)
        self.save()

    def fail(self, what, error):
        """Note what failed, and write the files."""
        self.occasions[-1]["failures"].append(f"{what}: {type(error).__name__}: {error}"[:500])
        self.save()

    def save(self):
        self.occasions[-1]["minutes"] = round((time.perf_counter() - self.start) / 60, 2)
        for path in (self.path, self.copy):
            self.done.save(path)


def take_home(path, out):
    """Copy a file to the output folder if it fits; return whether it does."""
    sizes = [file.stat().st_size for file in out.iterdir() if file.is_file()]
    fits = path.stat().st_size <= min(FILE_BYTES, ALL_BYTES - sum(sizes)) and len(sizes) < FILES
    if fits:
        shutil.copy(path, out)
    return fits


def machine():
    """Return the device and the versions that results depend on."""
    import jax

    device = jax.devices()[0]
    return {"device": device.device_kind, "driver": driver(), "versions": versions()}


def driver():
    """Return the version of the NVIDIA driver, or `None`."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def versions():
    """Return the versions of the packages that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
