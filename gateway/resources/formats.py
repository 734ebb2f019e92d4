"""The one format of the FHIR face, JSON (R4 http.html#mime-type): who takes none is refused everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_plus

from gateway.errors import NotAcceptable

_FORMATS = ("", "json", "application/json", "application/fhir+json", "text/json")
_PLAIN = frozenset({b"application/fhir+json", b"application/json", b"*/*"})


def refuse_format(text: str) -> None:
    """Whether the parameter ``_format`` asks for JSON, or for nothing. Raises NotAcceptable."""
    if text.partition(";")[0].strip().replace(" ", "+") not in _FORMATS:
        raise NotAcceptable("only json is spoken here", field="_format")


def refuse_other_formats(query: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Whether a request takes JSON, by ``_format`` in its address, else by ``Accept`` (RFC 9110 section
    12.5.1). Raises NotAcceptable."""
    if b"_format=" in query:
        fields = [field.partition("=") for field in query.decode("latin-1").split("&")]
        asked = [unquote_plus(text) for name, _, text in fields if name == "_format"]
        for text in asked:
            refuse_format(text)
        if any(asked):
            return
    accepted = b""
    for name, value in headers:
        if name == b"accept":
            if value in _PLAIN:
                return
            accepted += b"," + value
    if accepted and not _takes_json(accepted.decode("latin-1").lower()):
        raise NotAcceptable("only json is spoken here: Accept: application/fhir+json", field="Accept")


def _takes_json(accept: str) -> bool:
    ranges = [one.replace(" ", "").split(";") for one in accept.split(",") if one.strip()]
    weighed = [(media, next((text[2:] for text in more if text[:2] == "q="), "1")) for media, *more in ranges]
    taken = [media for media, weight in weighed if weight.strip("0.")]
    return not ranges or any("json" in media or media in ("*/*", "application/*") for media in taken)
