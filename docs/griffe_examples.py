"""Prepare docstrings and modules of the package for the API reference."""

import re
import textwrap
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Show `Example:` sections as code, and functions named like their module as functions."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename and indent the section of a docstring: griffe expects `Examples:`, indented."""
        if obj.docstring:
            flush = r"(?m)^Example:\n(\S.*(?:\n.+)*)"
            value = re.sub(flush, _indented, obj.docstring.value)
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Replace each module that its package hides behind a function of the same name."""
        for name, member in list(pkg.members.items()):
            if member.is_alias or not member.is_module:
                continue
            self.on_package(pkg=member)
            function = member.members.get(name)
            if function and pkg.imports.get(name) == f"{member.path}.{name}":
                # The other members stay reachable for imports from the module.
                others = {key: value for key, value in member.members.items() if key != name}
                function.members.update(others)
                pkg.set_member(name, function)


def _indented(match: re.Match) -> str:
    return "Example:\n" + textwrap.indent(match[1], "    ")
