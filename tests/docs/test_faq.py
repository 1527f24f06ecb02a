"""Numbers of the FAQ are those of the README, which come from benchmarks and from an example."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_sizes_of_files_are_those_of_the_readme():
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) kB \|$", (ROOT / "docs/faq.md").read_text(), re.M)
    readme = (ROOT / "README.md").read_text()
    found = dict(re.findall(r"\| ([\d,]+) \|[^|]*\|[^|]*\| ([\d.]+) \|", readme))
    student = re.search(r"student: ([\d,]+)\nstudent.tflite: ([\d,]+) bytes", readme)
    found[student[1]] = f"{int(student[2].replace(',', '')) / 1000:.1f}"
    assert len(rows) == 3
    assert {weights: found.get(weights) for weights, _ in rows} == dict(rows)
