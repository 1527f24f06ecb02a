"""Tables of results for notebooks."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """A table of texts, with the arguments of `keras_kd.files.text_table`.

    Attributes:
        header: The column titles; none for a list of fields.
        rows: The cells of each row.
        right: Indices of the columns that are aligned to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[int] = ()


class HtmlTables:
    """Mixin of results that notebooks show as tables.

    Override `html_tables`.
    """

    def html_tables(self) -> Mapping[str, Table]:
        """Return the tables by their captions."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return _template().render(tables=self.html_tables())


@functools.cache
def _template() -> Any:
    """Return the template. Training needs no Jinja2, so it is imported when a table is shown."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_kd", "display"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("tables.html.jinja")
