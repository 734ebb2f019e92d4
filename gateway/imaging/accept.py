"""``Accept`` of a retrieval, and what an archive is asked for because of it (PS3.18 sections 8.3.3.1, 8.7).

Archives differ in what they take: some refuse a wildcard, a second media type, a single part or an unquoted
``type``, and some answer in another form in place of refusing. So an archive is asked for one :class:`Form`
at a time, in the caller's order of preference, and what it answers is held against what the caller takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from gateway.errors import NotAcceptable

Resource = Literal["study", "series", "instance", "frames", "bulk", "metadata", "rendered", "thumbnail"]

DICOM, OCTETS, JSON = "application/dicom", "application/octet-stream", "application/dicom+json"
XML, RELATED, JPEG = "application/dicom+xml", "multipart/related", "image/jpeg"

_INSTANCES = ("study", "series", "instance")
_COMPRESSED = (JPEG, "image/jls", "image/jp2", "image/jpx", "image/jphc", "image/jxl", "image/dicom-rle")
_IMAGES = (JPEG, "image/png", "image/gif", "image/jp2", "image/jxl", "image/jphc")
_VIDEO = ("video/mp4", "video/mpeg", "video/h265")
_TEXTS = ("text/html", "text/plain", "text/xml", "text/rtf", "application/pdf")
_RENDERED = (*_IMAGES, *_VIDEO, *_TEXTS)
_QUOTED = r'"(?:[^"\\]|\\.?)*+(?:"|$)'  # to the end where nothing closes it: linear, whatever is sent
_ENTRY = re.compile(rf'(?:[^,"]|{_QUOTED})++')
_PART = re.compile(rf'(?:[^;"]|{_QUOTED})++')
_MEDIA = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+")
_SYNTAX = re.compile(r"\*|[0-9.]{1,64}")
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 section 12.4.2
_MOST = 32  # entries of one Accept that are looked at, and forms that come of them


class Media(Struct, frozen=True):
    """A media type or range: ``outer`` is ``multipart/related``, empty for a single part or ``*/*`` for both,
    ``inner`` the type of what it holds, ``syntax`` the transfer syntax where one is named (``*``: any)."""

    outer: str
    inner: str
    syntax: str = ""
    q: float = 1.0
    boundary: str = ""

    def takes(self, answer: Media) -> bool:
        """Whether this range takes what was answered."""
        if self.outer != answer.outer and self.outer != "*/*":
            return False
        named = self.syntax not in ("", "*") and bool(answer.syntax)
        return _fits(self.inner, answer.inner) and (not named or self.syntax == answer.syntax)


class Form(Struct, frozen=True):
    """What an archive is asked for: its ``Accept``, and whether the caller takes the one part of it alone."""

    accept: str
    single: bool = False


class Accepted(Struct, frozen=True):
    """What a caller takes, and in which forms an archive is asked for it, the best first."""

    ranges: tuple[Media, ...]
    forms: tuple[Form, ...]

    def takes(self, answer: Media) -> bool:
        """Whether the caller takes what was answered; the most specific range of it counts."""
        fitting = [one for one in self.ranges if one.takes(answer)]
        return bool(fitting) and max(fitting, key=_specific).q > 0

    @property
    def xml(self) -> bool:
        """Of metadata: whether the caller prefers the XML of PS3.19 to JSON."""
        wanted = sorted(self.ranges, key=lambda each: -each.q)
        return next(
            (each.outer == RELATED for each in wanted if each.q and any(_forms("metadata", each, one=True))),
            False,
        )


@lru_cache(maxsize=512)
def accepted(resource: Resource, header: str, *, one: bool = True) -> Accepted:
    """What a caller takes of a resource.

    Args:
        resource: what is asked for.
        header: the value of ``Accept``, or of the query parameter in its place; empty where there is none.
        one: whether it is one frame or one instance, which may be a single part (section 8.7.3.3.2).

    Raises:
        NotAcceptable: nothing of it is given here.
    """
    ranges = _ranges(header) or (_range("*/*"),)
    best = sorted((each for each in ranges if each and each.q > 0), key=lambda each: -each.q)
    forms = dict.fromkeys(form for each in best for form in _forms(resource, each, one=one))
    kept = tuple(each for each in ranges if each)
    if not forms:
        raise NotAcceptable(
            f"no form of {resource} that is given here is among those of Accept", field="Accept"
        )
    return Accepted(kept, tuple(forms)[:_MOST])


@lru_cache(maxsize=512)
def media_of(text: str) -> Media | None:
    """A Content-Type as it was answered; None where it cannot be read."""
    return _range(text)


def _ranges(header: str) -> tuple[Media | None, ...]:
    return tuple(_range(entry) for entry in _ENTRY.findall(header)[:_MOST] if entry.strip())


def _range(entry: str) -> Media | None:
    first, *parameters = [part.strip() for part in _PART.findall(entry)] or [""]
    media = first.lower()
    told: dict[str, str] = {}
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        value = value.strip()
        if value[:1] == '"' == value[-1:] and len(value) > 1:
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        told.setdefault(name.strip().lower(), value)
    weight = told.get("q", "1")
    if not _MEDIA.fullmatch(media) or not _WEIGHT.fullmatch(weight):
        return None
    inner, further = media, ""
    outer = "*/*" if media in ("*/*", "multipart/*") else ""
    if media == RELATED:
        # Orthanc says type="application/octet-stream; transfer-syntax=…"
        inner, _, further = told.get("type", "*/*").lower().partition(";")
        inner, outer = inner.strip(), RELATED
    syntax = told.get("transfer-syntax") or further.partition("transfer-syntax=")[2].strip()
    if not _MEDIA.fullmatch(inner) or (syntax and not _SYNTAX.fullmatch(syntax)):
        return None
    if media == "multipart/*":
        inner, outer = "*/*", RELATED
    return Media(outer, inner, syntax, float(weight), told.get("boundary", ""))


def _forms(resource: Resource, wanted: Media, *, one: bool) -> Iterable[Form]:
    """The forms of a resource that one range takes; a form that archives may not know after one that they
    must, where the range takes both."""
    multiple = wanted.outer in (RELATED, "*/*")
    single = wanted.outer == ""
    if resource in _INSTANCES:
        if _fits(wanted.inner, DICOM):
            yield from _of(DICOM, wanted.syntax, multiple=multiple, single=single and one)
    elif resource in ("frames", "bulk"):
        for media in _types(wanted.inner, (OCTETS, *_COMPRESSED)):
            yield from _of(media, wanted.syntax, multiple=multiple, single=single and one)
    elif resource == "metadata":
        if wanted.outer == "*/*" or (single and _fits(wanted.inner, JSON, "application/json")):
            yield Form(JSON)
        elif wanted.outer == RELATED and _fits(wanted.inner, XML):
            yield Form(JSON)  # it is made here, of what every archive gives
    elif wanted.outer != RELATED:
        for media in _types(wanted.inner, _RENDERED):
            yield Form(media)


def _of(media: str, syntax: str, *, multiple: bool, single: bool) -> Iterable[Form]:
    further = [f"; transfer-syntax={syntax}"] if syntax else [""]
    if syntax == "*":
        further.append("")  # "any" includes the one that an archive gives unasked
    for each in further:
        related = f'{RELATED}; type="{media}"{each}'
        if multiple:
            yield Form(related)
        elif single:
            yield Form(f"{media}{each}", single=True)
            yield Form(related, single=True)


def _types(range_: str, known: Sequence[str]) -> Iterable[str]:
    """The types of a range: the first of the known ones where any will do, else each that fits."""
    if range_ == "*/*":
        return known[:1]
    return [media for media in known if _fits(range_, media)]


def _fits(range_: str, *media: str) -> bool:
    return any(
        range_ in ("*/*", one) or (range_[-2:] == "/*" and one.startswith(range_[:-1])) for one in media
    )


def _specific(range_: Media) -> tuple[bool, bool, bool]:
    return range_.outer != "*/*", "*" not in range_.inner, bool(range_.syntax)
