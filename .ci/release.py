"""Write a version and today's date wherever they stand: `make release VERSION=0.2.0`.

The entries of "Unreleased" in the changelog become those of the version.
"""

import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(version: str, root: Path = ROOT, today: str | None = None) -> None:
    """Set the version of a checkout.

    Raises:
        SystemExit: If `version` is not three numbers, or nothing is unreleased.
    """
    today = today or datetime.date.today().isoformat()
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        sys.exit(f"Expected a version such as 0.2.0. Received: '{version}'.")
    changelog = (root / "CHANGELOG.md").read_text()
    heading = f"## Unreleased\n\n## {version} - {today}\n"
    if "## Unreleased\n\n### " not in changelog:
        sys.exit("Expected entries below 'Unreleased' in CHANGELOG.md. Received: none.")
    for name, pattern, text in (
        ("CHANGELOG.md", r"^## Unreleased\n", heading),
        ("keras_kd/version.py", r'(?<=__version__ = ")[^"]*', version),
        ("CITATION.cff", r"(?<=^version: ).*$", version),
        ("CITATION.cff", r"^(?:date-released: .*\n)?(?=license:)", f"date-released: {today}\n"),
    ):
        path = root / name
        written, count = re.subn(pattern, text, path.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1, f"{name} has no {pattern}"
        path.write_text(written)


if __name__ == "__main__":
    main(sys.argv[1])
