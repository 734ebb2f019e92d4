"""By what marks and the checks that recognised them are found again: documents whose ids begin with what is
looked for, so that a page of them is read in order.

Marks (``marked``) stand by the result and item they are about (``d``), by what is one version after another
of a result (``v``), and by the hospital's record (``r``). Checks (``recognised``) stand by the moment their
marks were issued at, with which the ids of marks begin: those of one answer are mostly of one moment, so that
a check has one row and not one for each. Nothing here holds a value or a person; a hospital's own number is
hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
from msgspec import Struct

from adapters.store import Document, Store
from catalog import Catalogue
from gateway.model import CheckAnswer
from recognition import Result
from recognition.model import ResultStatus
from security.mark import Claims

INDEX, RECOGNISED = "marked", "recognised"
PAGE = 200
MOMENT = 12
"""The digits of a mark's id that are its time (:mod:`gateway.ids`)."""


class MarkedResult(Struct, frozen=True):
    """What the index says of a mark: digest (hex) and item of its result, state and time of its report, and
    the ledger entry that the mark stands in."""

    digest: str
    item: str
    status: ResultStatus
    reported: datetime | None
    entry: str


class Recognition(Struct, frozen=True):
    """What the index says of a check that recognised a mark: whose mark, for whom, which result and item."""

    issuer: str
    institution: str
    result: str
    item: str


class _Recognitions(Struct, frozen=True):
    """The marks of one moment that a check recognised, by their ids."""

    check: str
    marks: dict[str, Recognition]


async def below(store: Store, kind: str, begin: str, page: int = PAGE) -> AsyncIterator[tuple[str, Document]]:
    """The documents whose ids begin so, each after the rest of its id; so many are read at once, also of
    those behind them. Raises StoreUnavailable."""
    after = begin
    while read := await store.documents(kind, after, page):
        for document in read:
            if not document.id.startswith(begin):
                return
            yield document.id.removeprefix(begin), document
        after = read[-1].id


def issue_key(digest_: str, item: str, scope: str, edition: str, year: int) -> str:
    """Under what the mark is found again that is used for a result (digest in hex) in a year."""
    return f"{digest_}|{item}|{scope}|{edition}|{year}"


def index_of(result: Result, claims: Claims, entry: str, now: datetime) -> list[Document]:
    """The documents by which a new mark is found again; ``entry`` is its ledger entry."""
    mark_id, digest_ = claims.mark_id.hex(), claims.digest.hex()
    body = msgspec.json.encode(MarkedResult(digest_, claims.item, result.status, result.reported, entry))
    return [
        Document(kind=INDEX, id=f"d|{digest_}|{claims.item}|{mark_id}", body=body, at=now),
        Document(kind=INDEX, id=f"v|{version_of(result)}|{mark_id}", body=body, at=now),
        Document(kind=INDEX, id=f"r|{hashed(result.source)}|{mark_id}", body=body, at=now),
    ]


def recognised_by(answer: CheckAnswer, person: str, catalogue: Catalogue, now: datetime) -> list[Document]:
    """The documents by which this check is found again when a mark that it recognised is withdrawn.

    Whose mark it was is whose institution it is, as :meth:`gateway.marks.marking.Marker.verify` made sure.
    """
    found: dict[str, dict[str, Recognition]] = {}
    for verdict in answer.verdicts:
        if verdict.verdict == "recognised" and verdict.mark is not None and (mark := verdict.mark.id):
            item = verdict.item.code if verdict.item else ""
            issuer = catalogue.institution(verdict.result.institution.code).gateway
            one = Recognition(issuer, answer.receiver.code, verdict.result.id, item)
            found.setdefault(recognition_id(mark, answer.id), {}).setdefault(mark, one)
    return [
        Document(
            kind=RECOGNISED,
            id=id_,
            body=msgspec.json.encode(_Recognitions(answer.id, marks)),
            at=now,
            person=person,
        )
        for id_, marks in found.items()
    ]


def recognition_id(mark: str, check: str) -> str:
    """The id of the document that says that a check recognised a mark."""
    return f"{mark[:MOMENT]}|{check}"


async def recognitions(store: Store, mark: str) -> list[tuple[str, Recognition]]:
    """The checks (their ids) that recognised a mark. Raises StoreUnavailable.

    Before 0.4 each mark had a document of its own, whose id began with the whole of the mark's.
    """
    found = []
    async for rest, document in below(store, RECOGNISED, mark[:MOMENT]):
        if rest.startswith("|"):
            said = msgspec.json.decode(document.body, type=_Recognitions)
            if one := said.marks.get(mark):
                found.append((said.check, one))
        elif rest.startswith(former := f"{mark[MOMENT:]}|"):
            found.append((rest.removeprefix(former), msgspec.json.decode(document.body, type=Recognition)))
    return found


def hashed(text: str) -> str:
    """What stands for a hospital's own number in the index: 16 bytes of SHA-256, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def version_of(result: Result) -> str:
    """What stands for all versions of a result."""
    return hashed(f"{result.institution}|{result.version_key}")
