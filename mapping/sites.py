"""What a hospital means by its own name, as people confirmed it for that hospital.

A name alone is never the key. A confirmed mapping belongs to one site, its local code, the canonical name
and the fields beside it, all of them exactly; if one differs, the name is read as if nothing were confirmed.
Before the grammars a confirmed mapping comes first, and it is held against the message all the same: a field
or code that says otherwise is a conflict, and the catalogue in force must have the concept.

A table is a value, made of the steps that people took: confirmations and revocations, in their order. Its
version is a digest of what is in it. A mapping that decides a side, a method, a specimen or a scale which the
name does not say itself is in force when two persons have confirmed the same concept.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from catalog import Catalogue
from mapping.reading import LocalName, Named
from mapping.slots import differing
from mapping.text import canonical, folded

FIELDS = tuple(name for name in LocalName.__struct_fields__ if name not in ("name", "site", "code"))
"""What stands beside a name."""

UNCONFIRMABLE = frozenset({"empty", "lost_character"})
"""Nobody can say what a name means that did not arrive."""

NOTHING = "sites-none"
"""The version of a table without a mapping in force."""


class Reads(Protocol):
    """Whatever reads names: the grammars alone, or behind what sites confirmed."""

    def read(self, local: LocalName) -> Named:
        """The reading of a name; never raises."""
        ...

    def panel(self, name: str) -> str | None:
        """The code of the panel with this name or code, or None."""
        ...


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that a person did to the table of names; ``id`` orders the steps and is never used twice.

    A confirmation says of ``local``, whose key is ``key``, that it means ``concept``; ``token`` is what the
    grammars could not explain, ``decides`` the slots that they left open, ``persons`` how many have to say
    so. A revocation names the id of the ``mapping`` that it ends. ``note`` is the person's own words.
    """

    id: str
    act: Literal["confirm", "revoke"]
    by: str
    at: datetime
    note: str = ""
    key: str = ""
    local: LocalName = LocalName(name="")
    token: str = ""
    concept: str = ""
    decides: tuple[str, ...] = ()
    persons: int = 2
    mapping: str = ""


class SiteMapping(Struct, frozen=True, kw_only=True):
    """A mapping in force; ``steps`` are who confirmed it, the last of which has put it in force."""

    id: str
    key: str
    local: LocalName
    token: str
    concept: str
    decides: tuple[str, ...]
    steps: tuple[Step, ...]


class Revoked(Struct, frozen=True):
    """A mapping that was ended, and the step that ended it."""

    mapping: SiteMapping
    step: Step


class SiteTable(Struct, frozen=True, kw_only=True):
    """Everything that sites confirmed. ``active`` and ``waiting`` are by key, ``revoked`` by mapping id.

    ``waiting`` has the newest confirmation of each person, where there are not enough of one mind yet.
    """

    active: Mapping[str, SiteMapping] = {}
    waiting: Mapping[str, tuple[Step, ...]] = {}
    revoked: Mapping[str, Revoked] = {}
    codes: Mapping[tuple[str, str], tuple[SiteMapping, ...]] = {}
    sites: frozenset[str] = frozenset()
    version: str = NOTHING

    def find(self, local: LocalName) -> SiteMapping | None:
        """The mapping in force for exactly this name with exactly these fields."""
        return self.active.get(key_of(local)) if local.site in self.sites else None

    def known(self, id_: str) -> SiteMapping | None:
        """The mapping with this id, in force or revoked."""
        if ended := self.revoked.get(id_):
            return ended.mapping
        return next((mapping for mapping in self.active.values() if mapping.id == id_), None)

    def drifted(self, local: LocalName) -> bool:
        """Whether the site confirmed this code under other names only, or under this name with another unit.

        A code that changed its meaning looks like this. A missing unit is silence and no change.
        """
        known = self.codes.get((local.site, local.code), ()) if local.code else ()
        if not known or key_of(local) in self.active:
            return False
        name, unit = _comparable(local.name), _plain(local.unit)
        units = {_plain(one.local.unit) for one in known if _comparable(one.local.name) == name}
        return not units or bool(unit and units - {""} and unit not in units)

    def after(self, steps: Iterable[Step]) -> SiteTable:
        """The table with further steps taken.

        A step that comes too late does nothing: a confirmation of what is in force, a revocation of what is
        not.
        """
        active, waiting, revoked = dict(self.active), dict(self.waiting), dict(self.revoked)
        ids = {mapping.id: key for key, mapping in active.items()}
        for step in steps:
            if step.act == "revoke":
                if key := ids.pop(step.mapping, ""):
                    revoked[step.mapping] = Revoked(active.pop(key), step)
            elif step.key not in active:
                said = (*(one for one in waiting.pop(step.key, ()) if one.by != step.by), step)
                agreeing = tuple(one for one in said if one.concept == step.concept)
                if len(agreeing) < max(one.persons for one in agreeing):
                    waiting[step.key] = said
                    continue
                mapping_id = f"{step.key[:16]}-{step.id}"
                ids[mapping_id] = step.key
                active[step.key] = SiteMapping(
                    id=mapping_id,
                    key=step.key,
                    local=step.local,
                    token=step.token,
                    concept=step.concept,
                    decides=tuple(dict.fromkeys(slot for one in agreeing for slot in one.decides)),
                    steps=agreeing,
                )
        codes: dict[tuple[str, str], list[SiteMapping]] = defaultdict(list)
        for mapping in active.values():
            codes[mapping.local.site, mapping.local.code].append(mapping)
        return SiteTable(
            active=active,
            waiting=waiting,
            revoked=revoked,
            codes={code: tuple(found) for code, found in codes.items()},
            sites=frozenset(site for site, _ in codes),
            version=_version(active),
        )


class SiteNormaliser:
    """Reads names by what their sites confirmed, and by the grammars; read-only, for one catalogue."""

    def __init__(self, grammars: Reads, catalogue: Catalogue, table: SiteTable) -> None:
        self._grammars = grammars
        self._catalogue = catalogue
        self._table = table

    def read(self, local: LocalName) -> Named:
        """What the site confirmed, if it did and nothing beside the name contradicts; else the grammars'."""
        own = self._grammars.read(local)
        mapping = self._table.find(local)
        if mapping is None or own.reason in UNCONFIRMABLE:
            return own
        tables = f"{own.tables};{self._table.version}"
        other = contradiction(self._grammars, self._catalogue, local, own, mapping.concept)
        if other:
            return replace(
                own,
                target=None,
                item=None,
                items=(),
                reason="conflict",
                candidates=(mapping.concept, other),
                differs=next(iter(differing(mapping.concept, other)), ""),
                tables=tables,
            )
        item = self._catalogue.item_for(mapping.concept)
        return Named(
            name=local.name,
            target=mapping.concept,
            item=item.code if item else None,
            items=(item.code,) if item else (),
            reason="" if item else "not_listed",
            spans=((0, len(local.name), "confirmed"),),
            tables=tables,
            mark=own.mark,
            confirmed=mapping.id,
        )

    def panel(self, name: str) -> str | None:
        """The code of the panel with this name or code, or None."""
        return self._grammars.panel(name)


def key_of(local: LocalName) -> str:
    """What a confirmation is for: 40 hexadecimal digits, 8 of the site (:func:`keys_of`) and 32 of its code,
    the comparable name and the fields beside it.

    Two writings of one name have one key (case, width, script, blanks, marks); fields count as written, but
    for width and blanks.
    """
    beside = {name: value for name, value in ((n, _plain(getattr(local, n))) for n in FIELDS) if value}
    exact = (local.site, _plain(local.code), _comparable(local.name), sorted(beside.items()))
    return keys_of(local.site) + hashlib.sha256(json.dumps(exact).encode()).hexdigest()[:32]


def keys_of(site: str) -> str:
    """The 8 hexadecimal digits with which all keys of a site begin."""
    return hashlib.sha256(json.dumps(site).encode()).hexdigest()[:8]


def beside(local: LocalName) -> dict[str, str]:
    """The fields beside a name that say something."""
    return {name: value for name, value in asdict(local).items() if name in FIELDS and value}


def contradiction(grammars: Reads, catalogue: Catalogue, local: LocalName, own: Named, concept: str) -> str:
    """The reading, or the reason, by which a message contradicts a concept; empty where it does not.

    ``own`` is what the grammars make of the name: an item of another concept contradicts. The fields are laid
    beside the catalogue's own name of the concept: if they make something else of it, or something that
    cannot be read any more, they contradict.
    """
    if own.items and own.target != concept:
        return own.target or ""
    item = catalogue.item_for(concept)
    if item is None:
        return ""
    if local.kind and local.kind != item.kind:
        return local.kind
    read = grammars.read(replace(local, name=item.name, kind=item.kind))
    if read.target == concept:
        return ""
    alone = grammars.read(LocalName(name=item.name, kind=item.kind)).target == concept
    if alone or read.target or read.reason == "conflict":
        others = (one for one in (read.target, *read.candidates) if one and one != concept)
        return next(others, read.reason)
    return ""


def _version(active: Mapping[str, SiteMapping]) -> str:
    if not active:
        return NOTHING
    content = sorted((mapping.id, key, mapping.concept) for key, mapping in active.items())
    return f"sites-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def _comparable(name: str) -> str:
    return folded(canonical(name).canonical)


def _plain(value: str) -> str:
    return "".join(unicodedata.normalize("NFKC", value).split())
