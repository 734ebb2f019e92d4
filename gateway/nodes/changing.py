"""Nodes set at run time: a chain of steps in the store, which every replica follows.

A step sets a node as a whole, removes one, or gives one another id. It is a ledger entry of type ``node``
(who, when, what) and a sealed document, so that whoever can write to the database can neither point a node at
another address nor bring one in: what was not sealed here does not open, and what is not in the ledger does
not count. Steps form a chain as editions of catalogues do: ids are 00000001, 00000002, …, so whoever adds one
has seen all the others. Of one node the newest step counts; it comes before what the settings' file says.

A step that is missing or does not open ends the chain: nothing after it counts, because what it took away
might be asked again. ``broken`` names it then, until the store is restored. That the newest step itself was
deleted is seen by whoever took it up before; its entry stays in the ledger.

Credentials are files, never values: a step may name files of one folder (``node_files``), by names that do
not lead out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from pydantic import ValidationError

from adapters import KeyTaken, StoreUnavailable
from adapters.sealing import is_sealed
from adapters.sequencer import Sequencer
from adapters.store import Document, Store
from gateway._settings_checks import node_defects
from gateway.errors import BadRequest, EvidenceUnavailable, NotFound
from gateway.settings import NodeSettings, Settings
from security.ledger import seal

KIND = "node"
Act = Literal["set", "remove", "rename"]
Edit = Callable[[], Mapping[str, Any]]
_ENCODER = msgspec.json.Encoder(order="sorted")
_PAGE = 500


class Step(Struct, frozen=True, kw_only=True):
    """One change: ``settings`` of what was set (without the values that are the default), or the new id
    (``to``) of what was renamed."""

    id: str
    act: Act
    node: str
    by: str
    at: datetime
    to: str = ""
    settings: dict[str, Any] = {}


class _Kept(Struct, frozen=True):
    """The document: the step, and its ledger entry."""

    step: Step
    entry: str


class Standing(Struct, frozen=True):
    """A node as it is configured: by the settings' file or by a step (``at`` is when), and why it cannot be
    used, if so."""

    settings: NodeSettings
    at: datetime | None = None
    refused: str = ""


class Changes:
    """The steps of one gateway.

    Args:
        settings: the nodes of the file, and the folder of credentials.
        store: an open store.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._nodes: Mapping[str, Standing] = {node.id: Standing(node) for node in settings.nodes}
        self._last = 0
        self._newest: Step | None = None
        self.broken = ""

    async def poll(self) -> list[Step]:
        """Take up the steps since the last time, and return them.

        Raises:
            StoreUnavailable: they cannot be read.
        """
        found: list[Step] = []
        last, newest, broken = self._last, self._newest, ""
        while not broken:
            page = await self._store.documents(KIND, _id(last - 1) if newest else "", _PAGE)
            if newest and (not page or await self._step(page[0]) != newest):
                broken = _id(last)
                break
            for document in page[1:] if newest else page:
                if document.id != _id(last + 1) or (step := await self._step(document)) is None:
                    broken = _id(last + 1)
                    break
                found.append(step)
                last, newest = last + 1, step
            if len(page) < _PAGE:
                break
        for step in found:
            self._nodes = after(self._nodes, step)
        self._last, self._newest, self.broken = last, newest, broken
        return found

    def standing(self) -> tuple[Standing, ...]:
        """The nodes in their order: those of the file, then those that were added. Files are absolute."""
        return self._marked(self._nodes)

    def values(self, node: str) -> dict[str, Any]:
        """The settings of a node as :meth:`set` takes them; none where there is no such node yet.

        Raises:
            BadRequest: it cannot be used as it stands, so there is nothing to go on from.
        """
        standing = self._nodes.get(node)
        if standing is None:
            return {}
        if standing.refused:
            raise BadRequest(f"give them all; the node cannot be used: {standing.refused}", field="settings")
        values = standing.settings.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
        folder = self._settings.node_files
        for name, file in _files(standing.settings):
            if folder and file.is_relative_to(folder):
                values[name] = str(file.relative_to(folder))
        return values

    async def set(self, sequencer: Sequencer, node: str, edit: Edit, by: str) -> Step:
        """Set a node as a whole; ``edit`` gives its settings without ``id``, files by their names. It is
        called again where somebody else changed something meanwhile, so that what it takes from
        :meth:`values` is what the new settings follow.

        Raises:
            BadRequest: a value is wrong; its ``field`` is the key.
            EvidenceUnavailable: it could not be recorded, so nothing was changed.
        """

        def make(id_: str) -> Step:
            settings = _read({**edit(), "id": node})
            kept = settings.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
            return Step(id=id_, act="set", node=node, by=by, at=datetime.now(UTC), settings=kept)

        return await self._take(sequencer, make)

    async def remove(self, sequencer: Sequencer, node: str, by: str) -> Step:
        """Take a node away, also one of the file. Raises NotFound, BadRequest, EvidenceUnavailable."""
        return await self._take(
            sequencer, lambda id_: Step(id=id_, act="remove", node=node, by=by, at=datetime.now(UTC))
        )

    async def rename(self, sequencer: Sequencer, node: str, to: str, by: str) -> Step:
        """Give a node another id; what is known to be held there goes with it, and so do archives that find
        their patients through it.

        One whose publications decide what is asked or shown keeps its id: until every replica had followed,
        some would look under the one id for what lies under the other, and find nothing to name.

        Raises NotFound, BadRequest, EvidenceUnavailable."""
        step = await self._take(
            sequencer, lambda id_: Step(id=id_, act="rename", node=node, to=to, by=by, at=datetime.now(UTC))
        )
        await self._store.repoint(node, to)
        return step

    async def _take(self, sequencer: Sequencer, make: Callable[[str], Step]) -> Step:
        """Write the step behind all others, after a look at what it would come to."""
        taken = False
        while True:
            found = await self.poll()
            if self.broken or (taken and not found):
                at = self.broken or _id(self._last + 1)
                raise EvidenceUnavailable(
                    f"change {at} of the nodes is missing or does not open: restore the store"
                )
            step = make(_id(self._last + 1))
            self._look_at(step)
            sealed = seal(
                "node",
                _ENCODER.encode(step),
                time=step.at,
                from_=self._settings.owner,
                to=self._settings.owner,
                scheme=f"nodes/{step.id}",
                item=step.node,
                hash_name=sequencer.hash_name,
            )
            kept = _ENCODER.encode(_Kept(step, sealed.entry_id))
            document = Document(kind=KIND, id=step.id, body=kept, at=step.at)
            try:
                await sequencer.append([sealed], [document])
            except KeyTaken:
                taken = True  # somebody else changed something meanwhile: look again
                continue
            except StoreUnavailable as wrong:
                raise EvidenceUnavailable(
                    "the change could not be recorded, so nothing was changed"
                ) from wrong
            await self.poll()
            return step

    def _look_at(self, step: Step) -> None:
        """Raises NotFound, BadRequest where the nodes would not go together afterwards."""
        before = self._nodes
        if step.act != "set" and step.node not in before:
            raise NotFound(f"there is no node {step.node!r}")
        if step.act == "rename":
            if step.to in before:
                raise BadRequest(f"there is a node {step.to!r} already", field="id")
            if before[step.node].settings.kind == "published":
                raise BadRequest("what is published is published under this id, which stays", field="id")
            if before[step.node].settings.publishes:
                raise BadRequest(
                    "set publishes = false, wait until every replica follows, and rename it then", field="id"
                )
            _read({"id": step.to, "kind": "fhir"})
        already = {(s.settings.id, s.refused) for s in self._marked(before) if s.refused}
        for standing in self._marked(after(before, step)):
            if standing.refused and (standing.settings.id, standing.refused) not in already:
                raise BadRequest(f"{standing.settings.id}: {standing.refused}", field="settings")

    def _marked(self, nodes: Mapping[str, Standing]) -> tuple[Standing, ...]:
        """With their files, and with what is wrong with nodes together."""
        standing = [_located(one, self._settings.node_files) if one.at else one for one in nodes.values()]
        for number, key, wrong in node_defects([one.settings for one in standing], self._settings.owner):
            one = standing[number]
            if not one.refused:
                standing[number] = msgspec.structs.replace(one, refused=f"{key} {wrong}")
        return tuple(standing)

    async def _step(self, document: Document) -> Step | None:
        """The step of a document; None where it does not open or is not in the ledger."""
        if is_sealed(document.body):
            return None
        try:
            kept = msgspec.json.decode(document.body, type=_Kept)
        except (msgspec.MsgspecError, UnicodeError):
            return None
        if kept.step.id != document.id or await self._store.index_of(kept.entry) is None:
            return None
        return kept.step


def inside(folder: Path | None, name: Path) -> Path:
    """The file of this name below the folder, links followed.

    Raises:
        BadRequest: there is no folder, or the name leads out of it.
    """
    if folder is None:
        raise BadRequest("cannot be named: node_files is not set", field=name.name)
    try:
        below = not name.is_absolute() and (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle; a NUL
        below = False
    if not below:
        raise BadRequest(f"must be the name of a file below {folder}", field=name.name)
    return folder / name


def _files(settings: NodeSettings) -> Iterator[tuple[str, Path]]:
    return ((name, value) for name, value in settings if isinstance(value, Path))


def _read(values: Mapping[str, Any]) -> NodeSettings:
    """The settings of a node. Raises BadRequest, whose field is the key."""
    try:
        return NodeSettings(**values)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        what = "is no setting of a node" if first["type"] == "extra_forbidden" else first["msg"]
        raise BadRequest(f"{key}: {what}", field=key) from None


def after(nodes: Mapping[str, Standing], step: Step) -> dict[str, Standing]:
    """The nodes by id, once this step was taken."""
    further = {**nodes}
    if step.act == "rename":
        if step.to not in nodes:
            return _renamed(nodes, step)
        if step.node in nodes:  # the file got a node of this id since
            refused = f"it was renamed to {step.to}, which another node of the file is called now"
            further[step.node] = msgspec.structs.replace(nodes[step.node], refused=refused)
        return further
    if step.act == "set":
        further[step.node] = _set(step)
    else:
        further.pop(step.node, None)
    return further


def _set(step: Step) -> Standing:
    """A step may come from a newer version of this program: what is not understood is not guessed."""
    try:
        return Standing(_read({**step.settings, "id": step.node}), step.at)
    except BadRequest as wrong:
        kind = step.settings.get("kind")
        plain = NodeSettings.model_construct(
            id=step.node,
            kind=kind if kind in ("fhir", "dicomweb", "gateway", "published") else "fhir",
            institution=str(step.settings.get("institution", "")),
        )
        return Standing(plain, step.at, str(wrong))


def _located(standing: Standing, folder: Path | None) -> Standing:
    """Its files below the folder, where links lead now; one that is not there makes it unusable."""
    located, refused = {}, standing.refused
    for name, value in _files(standing.settings):
        try:
            located[name] = inside(folder, value)
        except BadRequest as wrong:
            refused = f"{name} {wrong}"
    return Standing(standing.settings.model_copy(update=located), standing.at, refused)


def _renamed(nodes: Mapping[str, Standing], step: Step) -> dict[str, Standing]:
    """In the same order, with the archives that find their patients through it."""
    after = {}
    for one in nodes.values():
        update = {"id": step.to} if one.settings.id == step.node else {}
        if one.settings.identity == step.node:
            update["identity"] = step.to
        settings = one.settings.model_copy(update=update) if update else one.settings
        after[settings.id] = msgspec.structs.replace(one, settings=settings)
    return after


def _id(number: int) -> str:
    return f"{number:08d}"
