"""The templates of a package, as Jinja reads them here: HTML escaped, a name that nobody gave is an error."""

from __future__ import annotations

import jinja2


def environment(package: str) -> jinja2.Environment:
    """Return the environment of the folder ``templates`` of a package; ``number`` is a filter for counts."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters["number"] = "{:,}".format
    return found
