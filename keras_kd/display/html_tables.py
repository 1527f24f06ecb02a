"""Tables of results for notebooks."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from keras_kd.display.templates import make_environment


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
        template = make_environment("display").get_template("tables.html.jinja")
        return template.render(tables=self.html_tables())
