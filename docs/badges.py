"""Draw the badges of the README from setup.cfg: `python docs/badges.py`. They need no service."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "images" / "badges"
BADGE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img">
<title>{name}: {value}</title>
<rect width="{width}" height="20" rx="3" fill="#555"/>
<path d="M{left} 0h{right}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{color}"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{name_x}" y="14">{name}</text>
<text x="{value_x}" y="14">{value}</text>
</g>
</svg>
"""


def read_values() -> dict[str, tuple[str, str]]:
    """Return the value and the color of each badge."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    classifiers = config["metadata"]["classifiers"]
    minors = re.findall(r"Python :: 3\.(\d+)", classifiers)
    keras = re.search(r"^keras>=([\d.]+)", config["options"]["install_requires"], re.MULTILINE)
    return {
        "tests": ("make test", "#2f7d4f"),
        "license": (config["metadata"]["license"], "#2457c5"),
        "python": (f"3.{min(map(int, minors))} to 3.{max(map(int, minors))}", "#2457c5"),
        "keras": (f"≥ {keras.group(1)}", "#b3352f"),
    }


def draw(name: str, value: str, color: str) -> str:
    """Return a badge as SVG."""
    left, right = (10 + round(6.6 * len(text)) for text in (name, value))
    return BADGE.format(
        name=name,
        value=value,
        color=color,
        width=left + right,
        left=left,
        right=right - 3,
        name_x=left / 2,
        value_x=left + right / 2,
    )


def main() -> None:
    """Write all badges."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (value, color) in read_values().items():
        (FOLDER / f"{name}.svg").write_text(draw(name, value, color))


if __name__ == "__main__":
    main()
