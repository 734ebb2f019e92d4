"""QIDO-RS on C-FIND: keys down the levels of the Study Root model, answers as DICOM JSON (PS3.18 annex F).

An archive is asked for what it can match by itself; every condition is applied to its answers again, because
archives pass over keys that they do not know. The Study Root model knows series only of a named study, and
instances only of a named series (PS3.4 C.4.1.2.1), so a search of lower levels goes down from the studies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from pydicom.dataset import Dataset

from adapters.errors import NodeFaulty
from gateway.bridge.charsets import TEXTS, settle, speak
from gateway.bridge.values import Archive
from gateway.imaging.keywords import HOUSE, LEVELS, REQUIRED, TAG, attribute_of
from gateway.imaging.parts import object_of
from gateway.imaging.query import DicomQuery, Pairs, matches, query_of, shaped
from gateway.imaging.values import Level

Find = Callable[[Dataset], Awaitable[tuple[list[Dataset], bool]]]
Told = dict[str, Any]

_LEVEL_WORDS: Mapping[Level, str] = {"studies": "STUDY", "series": "SERIES", "instances": "IMAGE"}
_UIDS: Mapping[Level, str] = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}
_CHARSET, _RETRIEVE_URL = "00080005", "00081190"
_NOT_ASKED = frozenset((_CHARSET, _RETRIEVE_URL))
_OF_DIMSE = frozenset(("00080005", "00080052", "00080053", "00080054"))  # of the exchange, not of a study
_OF_SERIES = frozenset(
    attribute.tag
    for word in (
        "SeriesDate",
        "SeriesTime",
        "Manufacturer",
        "ManufacturerModelName",
        "StationName",
        "BodyPartExamined",
        "ProtocolName",
        "PatientPosition",
        "Laterality",
    )
    if (attribute := attribute_of(word))
)
_MATCHED = frozenset(  # keys that an archive matches, or passes over (PS3.4 tables C.6-2 to C.6-4)
    attribute.tag
    for word in (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyID",
        "StudyInstanceUID",
        "Modality",
        "SeriesInstanceUID",
        "SeriesNumber",
        "SOPInstanceUID",
        "InstanceNumber",
    )
    if (attribute := attribute_of(word))
)


class Found(msgspec.Struct, frozen=True):
    """Matches, and the sentences that warn of what they are not."""

    matches: list[Told]
    warnings: tuple[str, ...]


class Search:
    """One search. ``find`` asks the archive; ``base`` the address of this service.

    Raises:
        BadParameter: a parameter cannot be.
    """

    def __init__(
        self, level: Level, pairs: Pairs, above: Sequence[str], find: Find, archive: Archive, base: str
    ) -> None:
        under = LEVELS[len(above) - 1] if above else None
        named = [(_UIDS[one], uid) for one, uid in zip(LEVELS, above, strict=False)]
        self._query = query_of(level, [*pairs, *named], under=under)
        self._keys = _keys_of([*pairs, *named], self._query)
        self._settled = LEVELS[: len(above)]
        self._find, self._base = find, base
        self._charset, self._most = archive.charset, archive.most
        self._whole = True

    async def run(self) -> Found:
        """Ask, and put together what the archive answers. Raises NodeError."""
        query = self._query
        found: list[Told] = [{}]
        for level in LEVELS[: LEVELS.index(query.level) + 1]:
            if level in self._settled and not self._further(level):
                uid = self._keys[_UIDS[level]]
                found = [{**one, _UIDS[level]: {"vr": "UI", "Value": [uid]}} for one in found]
                continue
            below: list[Told] = []
            for one in found:
                below += [{**one, **match} for match in await self._level(level, one)]
                if len(below) > self._most:
                    self._whole = False
                    break
            found = below[: self._most]
        kept = [one for one in found if matches(query, one)]
        end = None if query.limit is None else query.offset + query.limit
        warnings = query.warnings
        if not self._whole:
            warnings += ("The archive has more matches than are read here; ask more narrowly.",)
        return Found([self._shown(one) for one in kept[query.offset : end]], warnings)

    def _further(self, level: Level) -> bool:
        """Whether of a level that the address settles something is asked beside its UID."""
        named = {tag for tag in self._query.returned or () if tag not in REQUIRED[level]}
        stated = {tag for tag, text in self._keys.items() if text} | named
        return any(_level_of(tag, self._query.level) == level for tag in stated - {_UIDS[level], *_NOT_ASKED})

    async def _level(self, level: Level, above: Told) -> list[Told]:
        """The matches of one level below what is known."""
        keys = Dataset()
        keys.QueryRetrieveLevel = _LEVEL_WORDS[level]
        tags = {*REQUIRED[level], *self._keys, *(self._query.returned or ())}
        for tag in sorted(tags - _NOT_ASKED):
            if tag[:4] != HOUSE and _level_of(tag, self._query.level) == level:
                _add(keys, tag, self._keys.get(tag, "") if tag in _MATCHED else "")
        for upper in LEVELS[: LEVELS.index(level)]:
            _add(keys, _UIDS[upper], above[_UIDS[upper]]["Value"][0])
        speak(keys, self._charset)
        answers, whole = await self._find(keys)
        self._whole &= whole
        return [told for match in answers if _UIDS[level] in (told := self._told(match))]

    def _told(self, match: Dataset) -> Told:
        try:
            settle(match, [self._charset] if self._charset else [])
            return {tag: one for tag, one in object_of(match, "").items() if tag not in _OF_DIMSE}
        except Exception:  # pydicom raises whatever a broken answer makes it stumble over
            raise NodeFaulty("answered a query with a dataset that cannot be read") from None

    def _shown(self, match: Told) -> Told:
        way = "/".join(
            f"{level}/{match[_UIDS[level]]['Value'][0]}" for level in LEVELS if _UIDS[level] in match
        )
        url = {"vr": "UR", "Value": [f"{self._base}/{way}"]}
        charset = {"vr": "CS", "Value": ["ISO_IR 192"]}
        return shaped({**match, _CHARSET: charset, _RETRIEVE_URL: url}, self._query)


def _keys_of(pairs: Pairs, query: DicomQuery) -> dict[str, str]:
    """The values of attributes at the top, as C-FIND writes them; what it would read in another way, or has
    no character set for, is left to this side alone."""
    keys: dict[str, str] = {}
    for name, text in pairs:
        attribute = attribute_of(name) if name[:1].isupper() or TAG.fullmatch(name) else None
        if attribute is None or (attribute.vr == "PN" and query.fuzzy):
            continue
        single = attribute.vr == "UI" or not set(text) & set('\\,"')
        single &= text.isascii() or attribute.vr in TEXTS
        keys[attribute.tag] = text.replace(",", "\\") if single else ""
    return keys


def _level_of(tag: str, searched: Level) -> Level:
    """The level of an attribute; one that is not known is taken for one of the level that is searched."""
    if tag in REQUIRED["studies"] or tag[:4] == "0010" or tag == "00081030":
        return "studies"
    if tag in REQUIRED["series"] or tag in _OF_SERIES:
        return "series"
    return "instances" if tag in REQUIRED["instances"] else searched


def _add(keys: Dataset, tag: str, text: str) -> None:
    attribute = attribute_of(tag)
    if attribute is not None:
        keys.add_new(int(tag, 16), attribute.vr, text or ([] if attribute.vr == "SQ" else None))
