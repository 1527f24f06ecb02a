"""Show `Example:` sections as code: griffe expects `Examples:`, indented."""

import re
import textwrap
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Rename and indent the section of every docstring before griffe parses it."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a module, class or function."""
        if obj.docstring:
            flush = r"(?m)^Example:\n(\S.*(?:\n.+)*)"
            value = re.sub(flush, _indented, obj.docstring.value)
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", value)


def _indented(match: re.Match) -> str:
    return "Example:\n" + textwrap.indent(match[1], "    ")
