"""The Jinja environment of every page and table: texts are escaped, missing values are errors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def make_environment(folder: str) -> "jinja2.Environment":
    """Return an environment with the templates of a folder of the package.

    Training needs no Jinja2, so it is imported when the first page or table is written.
    """
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("keras_kd", folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
