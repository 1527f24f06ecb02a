"""Hook of MkDocs: the version in the footer, and names in the text that do not break."""

import re
from pathlib import Path
from typing import Any

_VERSION = Path(__file__).resolve().parents[1] / "keras_kd" / "version.py"
#: Browsers break names after hyphens. Longer ones may need two lines on a phone.
_WORD = re.compile(r"<code>([^<\s]{1,28})</code>")


def on_config(config: Any, **_: Any) -> Any:
    """Show the version of the package in the footer of all pages."""
    (version,) = re.findall(r'__version__ = "(.*)"', _VERSION.read_text("utf-8"))
    config["copyright"] = f"keras_kd {version}, Apache License 2.0"
    return config


def on_page_content(html: str, **_: Any) -> str:
    """Mark short inline code without spaces, for the style sheet."""
    return _WORD.sub(r'<code class="word">\1</code>', html)
