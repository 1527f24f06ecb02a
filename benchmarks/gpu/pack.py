"""Put everything that the GPU benchmark needs into one folder, for a machine without a network.

`python -m benchmarks.gpu.pack --into .gpu` writes the sources, the wheels that such a machine
lacks, and the images of the TFDS data set `cifar100` (`TFDS_DATA_DIR`) as one `.npz`; it prints the
command to run beside that folder. The machine has CPython 3.12 for x86-64, JAX and NumPy.
"""

import argparse
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.paths import ROOT

#: Packages that the machine lacks: Keras, and what it needs besides common packages.
WHEELS = ("keras", "namex", "optree")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
SOURCES = ("keras_kd", "benchmarks/*.py", "examples/cifar100_networks.py")
LIMIT = 60 * 2**20
COMMAND = """set -o pipefail; python3 -m pip install -q --no-index --no-deps --no-compile \
--no-cache-dir --upgrade --target /tmp/site {folder}/wheels/*.whl && cd {folder}/source && \
PYTHONUNBUFFERED=1 PYTHONPATH=/tmp/site timeout -k 5 595 python3 -m benchmarks.gpu \
--data ../cifar100.npz --earlier ../earlier --work /tmp/gpu_bench --out "$OUT" \
--minutes 9.2 --total 12 2>&1 | tee "$OUT/log.txt\""""


def main(arguments=None):
    options = parse(arguments)
    folder = options.into
    for name in ("source", "wheels", "earlier"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    copy_sources(folder / "source")
    download_wheels(folder / "wheels")
    if not (folder / "cifar100.npz").exists():
        write_images(folder / "cifar100.npz")
    for path in sorted(options.earlier.iterdir()) if options.earlier else ():
        if path.suffix in (".json", ".npz") and size(folder) + path.stat().st_size <= LIMIT:
            shutil.copy(path, folder / "earlier")
    if size(folder) > LIMIT:
        raise SystemExit(f"{folder} has {size(folder)} bytes, more than {LIMIT}.")
    print(f"{folder}: {size(folder) / 2**20:.1f} MiB. Run beside it:")
    print(COMMAND.format(folder=folder.name))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.pack", description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / ".gpu", help="the folder")
    parser.add_argument("--earlier", type=Path, help="results of an earlier machine, to continue")
    return parser.parse_args(arguments)


def copy_sources(folder):
    """Copy the files of the repository that the benchmark imports."""
    listed = subprocess.run(
        ["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def download_wheels(folder):
    """Download the wheels in the versions that are installed here."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    command += ["--python-version", "3.12", "--implementation", "cp", "--dest", folder]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    subprocess.run([*command, *(f"{name}=={version(name)}" for name in WHEELS)], check=True)


def write_images(path):
    """Write both splits as uint8 arrays `x`, `y`, `x_test` and `y_test`."""
    import tensorflow_datasets as tfds

    arrays = {}
    for split, suffix in (("train", ""), ("test", "_test")):
        samples = tfds.as_numpy(tfds.load("cifar100", split=split, batch_size=-1))
        arrays[f"x{suffix}"] = samples["image"]
        arrays[f"y{suffix}"] = samples["label"].astype("uint8")
    np.savez_compressed(path, **arrays)


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
