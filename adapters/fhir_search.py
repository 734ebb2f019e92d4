"""Searches at a FHIR R4 server: the request in the server's dialect, every page, and nothing but matches.

The questions are the plainest that R4 has, because servers differ in all others: POST ``_search`` with a form
body (a number in a URL ends in logs), ``patient=Patient/<id>`` (some servers do not know the bare id), one
date bound (some find nothing with two). Where a server knows even these otherwise, its :class:`Dialect` says
so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Literal
from urllib.parse import quote_plus

import msgspec
from msgspec import Raw, Struct

from adapters.errors import NodeFaulty
from adapters.fhir_read import Patient, type_of
from adapters.http import Line
from adapters.transport import refuse_deep
from recognition import SHANGHAI

MEDIA = "application/fhir+json"
BOUNDED = ("DiagnosticReport", "Observation", "ImagingStudy")
"""The types that a server is told a time for. Others often have none, and would not be found by it."""
MAX_PAGES = 50
MAX_BYTES = 32 * 1024 * 1024
"""Of all pages of one search."""


class Dialect(Struct, frozen=True, kw_only=True):
    """How a server differs: whether it takes searches as ``post`` or ``get`` only, knows the patient by
    ``reference`` or bare ``id``, finds anything with a bound on the date (else what lies before it is left
    out here), and is asked for specimens; and how many resources a page is to have.
    """

    search: Literal["post", "get"] = "post"
    patient: Literal["reference", "id"] = "reference"
    since: bool = True
    specimens: bool = True
    page: int = 200


class _Search(Struct, frozen=True, gc=False):
    mode: str = "match"


class _Entry(Struct, frozen=True, gc=False):
    resource: Raw = Raw()
    search: _Search = _Search()


class _Link(Struct, frozen=True, gc=False):
    relation: str = ""
    url: str = ""


class _Bundle(Struct, frozen=True, rename="camel"):
    resource_type: str
    type: str
    entry: tuple[_Entry, ...] = ()
    link: tuple[_Link, ...] = ()


class Found(Struct, frozen=True):
    """The matches of one search in their order, their types not checked; what came along; the pages."""

    resources: tuple[Raw, ...]
    included: tuple[Raw, ...]
    pages: tuple[bytes, ...]


_ABOVE = 3  # levels: the Bundle, its entries, the entry
_DECODER = msgspec.json.Decoder(_Bundle)


class Searcher:
    """Searches over one line."""

    def __init__(self, line: Line, dialect: Dialect) -> None:
        self._line = line
        self._dialect = dialect

    def form(self, type_: str, patient: Patient, bound: str, since: datetime) -> str:
        """The encoded parameters for a patient's records of a type, from a moment on where it is one of
        :data:`BOUNDED`; of Observations those of the laboratory. The patient's id is a FHIR id, in which
        nothing is to be encoded."""
        form = f"patient={'Patient%2F' if self._dialect.patient == 'reference' else ''}{patient.id}"
        if type_ == "Observation":
            form += "&category=laboratory"
        bounded = self._dialect.since and type_ in BOUNDED
        return f"{form}&{bound}=ge{_encoded(since)}" if bounded else form

    async def find(self, type_: str, form: str) -> Found:
        """Every page of a search with these encoded parameters.

        Raises:
            NodeError: an answer could not be had, or is no search result.
        """
        form += f"&_count={self._dialect.page}"
        if self._dialect.search == "get":
            body = await self._line.get_json(f"{type_}?{form}", accept=MEDIA, parts=True)
        else:
            body = await self._line.post_form(f"{type_}/_search", form, accept=MEDIA, parts=True)
        resources: list[Raw] = []
        included: list[Raw] = []
        pages = []
        size = 0
        for _ in range(MAX_PAGES):
            size += len(body)
            if size > MAX_BYTES:
                raise NodeFaulty(f"its answer to a search for {type_} has more than {MAX_BYTES} bytes")
            pages.append(body)
            bundle = _searchset(body)
            for entry in bundle.entry:
                refuse_deep(bytes(entry.resource), _ABOVE)
                if entry.search.mode == "match":
                    resources.append(entry.resource)
                elif entry.search.mode == "include":
                    included.append(entry.resource)
            following = next((link.url for link in bundle.link if link.relation == "next"), "")
            if not following:
                return Found(tuple(resources), tuple(included), tuple(pages))
            body = await self._line.get_json(self._line.below(following), accept=MEDIA, parts=True)
        raise NodeFaulty(f"its answer to a search for {type_} goes on after {MAX_PAGES} pages")


def check_types(type_: str, resources: Iterable[Raw]) -> None:
    """Raise NodeFaulty where a search for one type found another; what cannot be read is passed over."""
    if any(type_of(raw) not in (type_, "") for raw in resources):
        raise another_type(type_)


def another_type(type_: str) -> NodeFaulty:
    """That a search for one type found another."""
    return NodeFaulty(f"answered a search for {type_} with another type of resource")


@lru_cache(maxsize=64)  # one search asks many nodes
def _encoded(moment: datetime) -> str:
    return quote_plus(moment.astimezone(SHANGHAI).isoformat(timespec="seconds"))


def _searchset(body: bytes) -> _Bundle:
    try:
        bundle = _DECODER.decode(body) if body else _Bundle("Bundle", "searchset")
    except (msgspec.MsgspecError, RecursionError):
        raise NodeFaulty("answered a search with something that is no Bundle") from None
    if (bundle.resource_type, bundle.type) != ("Bundle", "searchset"):
        raise NodeFaulty("answered a search with something that is no searchset Bundle")
    return bundle
