"""A webhook's request: its headers, its body as it was sent, and what that says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from bounceml.web.guard import FORM, Refused, body_type

_FIELDS = 1000  # of a form


class Delivery:
    """A request of a service.

    Parameters
    ----------
    headers
        Its headers, by names in lower case.
    raw
        Its body as it was sent.

    """

    def __init__(self, headers: Mapping[str, str], raw: bytes) -> None:
        self.headers = headers
        self.raw = raw

    @cached_property
    def body(self) -> Any:
        """What the body says: JSON, unless it is said to be a form; SNS sends its JSON as text/plain. It is read when first asked for.

        Raises
        ------
        Refused
            400 or 415 where it is neither.

        """
        kind = body_type(self.headers)
        if kind.startswith("multipart/"):
            raise Refused(415, "Not read", f"Post the event as JSON, or as a form of the type {FORM}.")
        try:
            if kind == FORM:
                return dict(parse_qsl(self.raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS))
            return json.loads(self.raw.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            what = "form" if kind == FORM else "JSON"
            raise Refused(400, "Not readable", f"The body is no {what}; pass it on as it came, with its Content-Type.") from None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the body; none where it is a list, a number or the like."""
        return self.body if isinstance(self.body, dict) else {}
