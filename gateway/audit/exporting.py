"""The ledger as files for an auditor: all that ``lianren ledger verify`` needs, and no person's number.

The tree goes out whole; marks, salts and payloads are those of the selection. An export is itself an entry
of the ledger, of type ``export``, written before anything is read, and so the last entry that it holds.

Everything is read and written in pages, so that memory does not grow with the ledger.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from adapters.sequencer import Sequencer
from adapters.store import Secret, Store
from gateway.errors import NotFound
from gateway.keeper import OTHERS, key_history, roots_of
from gateway.keyring import open_keys
from gateway.settings import Settings
from gateway.wiring import open_ledger, origin_of
from gateway.witness.cosigning import witness_name
from gateway.witness.witnessing import newest_cosigned
from security.audit import Pinned
from security.errors import MarkRefused
from security.export import Selection, Why, Writer
from security.keystore import KeyStore
from security.ledger import Entry, read_entry, seal
from security.mark import read as read_mark
from security.note import NoteVerifier

PAGE = 1024
ANYBODY = "auditor"
"""To whom an export went, where nobody is named."""

Progress = Callable[[int, int], None]
_ENCODER = msgspec.json.Encoder(order="sorted")
_HELD = 10_000


async def export_ledger(
    settings: Settings,
    folder: Path,
    *,
    disclose: bool,
    selection: Selection | None = None,
    recipient: str = ANYBODY,
    progress: Progress = lambda done, of: None,
) -> int:
    """Write the export and return the ledger's size. With ``disclose`` salts and payloads go along.

    Raises:
        NotFound: nothing has been recorded yet; there is no such decision.
        StoreError, TrustError, SettingsError: with one line that says what to do.
    """
    keys = open_keys(settings)
    async with open_ledger(settings, keys) as sequencer:
        store = sequencer.store
        if (await store.head()).size == 0:
            raise NotFound("nothing has been recorded yet, so there is nothing to export")
        chosen = await Chosen.of(store, selection or Selection())
        what = {"what": "ledger", "disclosed": disclose, "selection": msgspec.to_builtins(chosen.selection)}
        await record_export(sequencer, settings.owner, what, recipient)
        return await write(store, keys, settings, folder, disclose=disclose, chosen=chosen, progress=progress)


async def write(
    store: Store,
    keys: KeyStore,
    settings: Settings,
    folder: Path,
    *,
    disclose: bool,
    chosen: Chosen | None = None,
    progress: Progress = lambda done, of: None,
) -> int:
    """Write the export of an open store up to its newest checkpoint; see :func:`export_ledger`."""
    lists = None
    while lists != (newest := await key_lists(store)):  # the note covers them, and has no newer ones
        note, lists = await store.note(), newest
    if note is None:
        raise NotFound("nothing has been recorded yet, so there is nothing to export")
    chosen = chosen or await Chosen.of(store, Selection())
    with Writer(folder, note, disclose=disclose, selection=chosen.selection) as writer:
        while page := await store.entries(writer.size, min(PAGE, writer.checkpoint.size - writer.size)):
            entries = [read_entry(body) for body in page]
            secrets = await asyncio.gather(*(_secret(store, chosen, entry, disclose) for entry in entries))
            for body, (secret, why) in zip(page, secrets, strict=True):
                writer.add(body, (secret.salt, secret.payload) if secret else None, why)
            progress(writer.size, writer.checkpoint.size)
        writer.finish(lists, await newest_cosigned(store))
    pins = msgspec.json.encode(pins_of(keys, settings))
    (folder / "pinned.json").write_bytes(msgspec.json.format(pins))
    return writer.size


async def record_export(
    sequencer: Sequencer, owner: str, what: dict[str, object], recipient: str, binds: str = ""
) -> None:
    """Write down that something leaves the house, and to whom, before it does; starts the sequencer.

    Raises:
        LedgerRefused: the recipient is no id. StoreError: it cannot be written down.
    """
    entry = seal(
        "export",
        _ENCODER.encode(what),
        time=datetime.now(UTC),
        from_=owner,
        to=recipient,
        binds=binds,
        hash_name=sequencer.hash_name,
    )
    await sequencer.start()
    await sequencer.append([entry], [])


async def key_lists(store: Store) -> list[bytes]:
    """The signed key lists that an auditor may need: all own ones, and the newest of each other gateway."""
    return [*await key_history(store), *(document.body for document in await store.documents(OTHERS))]


def pins_of(keys: KeyStore, settings: Settings) -> Pinned:
    """What an auditor pins of this gateway: its keys as a log and as a witness of others, and its roots."""
    held, name = keys.list(), witness_name(settings.owner)
    logs = [NoteVerifier.of(origin_of(settings), key) for key in held if key.purpose == "log"]
    logs += [NoteVerifier.of(name, key, cosigns=True) for key in held if key.purpose == "witness"]
    return Pinned(logs=tuple(verifier.to_text() for verifier in logs), roots=roots_of(keys, settings.owner))


class Chosen:
    """Says of each entry whether it is of a selection.

    By time: the entry's own. By decision: its question, what binds to that, and the marks that it cites. By
    institution: the exchanges in which it was the receiver, and the marks of what it examined. An entry says
    little itself, so what it binds is followed to the question; what was found is remembered for a while.
    """

    def __init__(self, store: Store, selection: Selection, question: str, marks: frozenset[str]) -> None:
        self.selection = selection
        self._store = store
        self._question = question
        self._marks = marks
        self._heads: OrderedDict[str, _Question] = OrderedDict()

    @classmethod
    async def of(cls, store: Store, selection: Selection) -> Chosen:
        """The chosen of a store.

        Raises:
            NotFound: there is no such decision.
        """
        if not selection.decision:
            return cls(store, selection, "", frozenset())
        found = await decision_of(store, selection.decision)
        return cls(store, selection, found.question, frozenset(found.marks))

    async def holds(self, entry: Entry) -> bool:
        """Whether the entry is of the selection."""
        chosen = self.selection
        if (chosen.from_ and entry.time < chosen.from_) or (chosen.to and entry.time >= chosen.to):
            return False
        if chosen.decision:
            of_it = entry.mark in self._marks if entry.mark else False
            return of_it or (await self._head(entry)).commit == self._question
        if chosen.institution:
            return (await self._head(entry)).institution == chosen.institution
        return True

    async def _head(self, entry: Entry) -> _Question:
        """Where the bindings of an entry begin."""
        if (held := self._heads.get(entry.binds or entry.commit)) is not None:
            return held
        if entry.binds:
            index = await self._store.index_of(entry.binds)
            above = [] if index is None else await self._store.entries(index, 1)
            head = await self._head(read_entry(above[0])) if above else _Question(entry.commit, "")
        else:
            secret = await self._store.secret(entry.commit)
            head = _Question(entry.commit, _institution(entry, secret))
        self._heads[entry.commit] = head
        if entry.binds:
            self._heads[entry.binds] = head
        while len(self._heads) > _HELD:
            self._heads.popitem(last=False)
        return head


class _Question(Struct, frozen=True):
    """The entry that an exchange begins with, and whom it concerns; empty where that was erased."""

    commit: str
    institution: str


def _institution(entry: Entry, secret: Secret | None) -> str:
    if secret is None:
        return ""
    if entry.type == "mark":
        try:
            return read_mark(secret.payload).claims.institution
        except MarkRefused:
            return ""
    try:
        said = msgspec.json.decode(secret.payload, type=_Concerned)
    except msgspec.MsgspecError:
        return ""
    return said.receiver or said.institution


class _Concerned(Struct, frozen=True):
    receiver: str = ""
    institution: str = ""


class Decision(Struct, frozen=True):
    """A decided check in the ledger: the entries of question and verdict, and the marks that it cites."""

    question: str
    verdict: str
    marks: dict[str, str]


class _Mark(Struct, frozen=True):
    id: str = ""
    signed: str = ""


class _Verdict(Struct, frozen=True):
    mark: _Mark | None = None


class _Ledger(Struct, frozen=True):
    entry: str


class _Answer(Struct, frozen=True):
    ledger: _Ledger
    verdicts: tuple[_Verdict, ...]


class _Kept(Struct, frozen=True):
    """Of a kept check (:mod:`gateway.checks`), what leads to the ledger."""

    answer: _Answer


async def decision_of(store: Store, check: str) -> Decision:
    """Where a decided check stands in the ledger; its marks as id and text.

    Raises:
        NotFound: there is none with this id, or its answer was erased.
    """
    document = await store.document("check", check)
    if document is None:
        raise NotFound(f"there is no decision {check!r}, or it was erased", field="id")
    answer = msgspec.json.decode(document.body, type=_Kept).answer
    index = await store.index_of(answer.ledger.entry)
    bodies = [] if index is None else await store.entries(index, 1)
    if not bodies:
        raise NotFound(f"the ledger of this store does not hold decision {check!r}", field="id")
    cited = [verdict.mark for verdict in answer.verdicts if verdict.mark is not None]
    return Decision(
        read_entry(bodies[0]).binds,
        answer.ledger.entry,
        {mark.id: mark.signed for mark in cited if mark.id and mark.signed},
    )


async def _secret(store: Store, chosen: Chosen, entry: Entry, disclose: bool) -> tuple[Secret | None, Why]:
    if not (disclose or entry.type == "mark"):
        return None, "erased"
    if not await chosen.holds(entry):
        return None, "not_selected"
    return await store.secret(entry.commit), "erased"
