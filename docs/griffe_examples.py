"""Lets the reference show `Example:` as code: griffe's section is called `Examples:`, indented."""

import re
import textwrap
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section in every docstring, and indents it, before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class and function."""
        if obj.docstring:
            flush = r"(?m)^Example:\n(\S.*(?:\n.+)*)"
            value = re.sub(flush, _indented, obj.docstring.value)
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", value)


def _indented(match: re.Match) -> str:
    return "Example:\n" + textwrap.indent(match[1], "    ")
