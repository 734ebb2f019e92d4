"""A DICOMweb archive as a node: which studies of the person it holds, how many images of each, and whether
these come when they are asked for (:mod:`adapters.presence`).

QIDO-RS knows only GET, so the local patient number stands in a URL; the archive's address and log policy are
part of its accreditation (design, section 6). The number comes from the FHIR node of the same institution: an
archive knows no resident numbers. A study here has images and no report, so it is ``preliminary`` until
``join.py`` lays it onto the hospital's record of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Raw, Struct, field

from adapters._asking import Heard, all_of, answer_of, bearer, heard, ping_of
from adapters.errors import NodeError, NodeFaulty
from adapters.fhir_results import ACCOMPANYING, reading, single_modality
from adapters.fhir_time import in_range
from adapters.http import Line
from adapters.node import Answer, Question, Report
from adapters.presence import Presence, Shown, count_of
from adapters.transport import Timeouts
from mapping import LocalName
from mapping.sites import Reads
from quality.record import DICOM_UID
from recognition import SHANGHAI, Images, Result

MEDIA = "application/dicom+json"
MRN = "urn:lianren:mrn:"

# Study Description, Modalities in Study, Number of Study Related Instances, Timezone Offset From UTC,
# Instance Availability.
_INCLUDE = ("00081030", "00080061", "00201208", "00080201", "00080056")
_MANY = "10000"  # archives bound an answer that names no limit, and a count must not be one of their bounds
_WILDCARD = re.compile(r"[*?\\]|[\x00-\x1f]")  # PS3.4 C.2.2.2.4, and the separator of values
_TIME = re.compile(r"(\d\d)(\d\d)?(\d\d)?(?:\.(\d{1,6}))?")
_OFFSET = re.compile(r"[+-]\d{4}")
# PS3.3 C.4.23.1.1: what somebody has to fetch from a shelf first, and what nobody can have.
_AVAILABILITY: dict[str, int | None] = {"OFFLINE": None, "UNAVAILABLE": 0}
_SHARE = 0.8
"""The share of a question's time after which images that did not come are left for the next question."""


class Identities(Protocol):
    """Who knows the local numbers of a person: the institution's FHIR node."""

    id: str

    async def patient_numbers(self, question: Question, system: str) -> tuple[str, ...]:
        """The person's numbers of this system; raises NodeError."""
        ...


class _Element(Struct, frozen=True):
    values: tuple[Raw, ...] = field(default=(), name="Value")

    @property
    def texts(self) -> tuple[str, ...]:
        """Values as text: strings without padding, numbers as written; null and objects are nothing."""
        texts = []
        for raw in self.values:
            try:
                texts.append(msgspec.json.decode(raw, type=str | int | float | None))
            except msgspec.MsgspecError:
                texts.append(None)
        return tuple(str(text).strip(" \0") for text in texts if text is not None)

    @property
    def text(self) -> str:
        return next(iter(self.texts), "")


_NONE = _Element()


class Study(Struct, frozen=True, kw_only=True):
    """The attributes asked for, by their tags (PS3.18 F.2)."""

    patient_id: _Element = field(default=_NONE, name="00100020")
    uid: _Element = field(default=_NONE, name="0020000D")
    date: _Element = field(default=_NONE, name="00080020")
    time: _Element = field(default=_NONE, name="00080030")
    offset: _Element = field(default=_NONE, name="00080201")
    modalities: _Element = field(default=_NONE, name="00080061")
    description: _Element = field(default=_NONE, name="00081030")
    series: _Element = field(default=_NONE, name="00201206")
    instances: _Element = field(default=_NONE, name="00201208")
    availability: _Element = field(default=_NONE, name="00080056")

    @property
    def held(self) -> int | None:
        """The number of its instances, where the study says it."""
        return count_of(self.instances.text)

    @property
    def performed(self) -> tuple[datetime | None, tuple[str, ...]]:
        """Study Date and Time, in Asia/Shanghai unless the study says another offset (PS3.3 C.12.1.1.8)."""
        day, clock, offset = self.date.text, self.time.text, self.offset.text
        if not day:
            return None, ()
        parts = _TIME.fullmatch(clock)
        if not clock:
            return None, ("performed:date-only",)
        try:
            if parts is None or (offset and not _OFFSET.fullmatch(offset)):
                raise ValueError
            hour, minute, second, fraction = (part or "" for part in parts.groups())
            written = f"{day}{hour}{minute or '00'}{second or '00'}.{fraction or '0'}"
            if offset:
                performed = datetime.strptime(written + offset, "%Y%m%d%H%M%S.%f%z")
            else:
                local = datetime.strptime(written, "%Y%m%d%H%M%S.%f")  # noqa: DTZ007 - the zone follows
                performed = local.replace(tzinfo=SHANGHAI)
            if not in_range(performed):
                raise ValueError
            return performed, ()
        except ValueError:
            return None, ("performed:not-a-time",)


class _Series(Struct, frozen=True, kw_only=True):
    """A series or an instance of a study: what the study itself did not say."""

    study: _Element = field(default=_NONE, name="0020000D")
    uid: _Element = field(default=_NONE, name="0020000E")
    modality: _Element = field(default=_NONE, name="00080060")
    instances: _Element = field(default=_NONE, name="00201209")


_SERIES = msgspec.json.Decoder(_Series)


class DicomwebNode:
    """One archive; ``identities`` is the node that knows the local numbers of ``institution``.

    ``timeout`` is in seconds for one question; ``line`` and ``images`` are the ways to the archive, where
    more is to be said of them than address, time and token. ``line.base_url`` is the service root before
    ``/studies``. Images come and go by connections of their own, so that slow viewers hold up no question.
    """

    kind = "dicomweb"

    def __init__(
        self,
        id: str,  # noqa: A002 - the protocol's word
        url: str,
        institution: str,
        identities: Identities,
        normaliser: Callable[[], Reads],
        *,
        timeout: float = 5.0,
        token: str = "",
        line: Line | None = None,
        images: Line | None = None,
    ) -> None:
        self.id = id
        self.institution = institution
        self._identities = identities
        self._normaliser = normaliser
        self._timeout = timeout
        self.line = line or Line(url, timeout=Timeouts.within(timeout), headers=bearer(token))
        self.images = images or Line(url, timeout=Timeouts.within(timeout), headers=bearer(token))
        self._presence = Presence(self.line)

    async def prior(self, question: Question) -> Answer:
        """Studies of the person since ``question.since``; see :class:`adapters.node.Node`."""
        return await answer_of(self, question, self._timeout, self._ask(question))

    async def ping(self) -> Report:
        """Ask for the studies of a patient whom no archive has."""
        params = {"PatientID": "lianren-ping", "limit": "1"}
        return await ping_of(self, self.line.get_json("studies", params, accept=MEDIA))

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._presence.aclose()
        await self.line.aclose()
        await self.images.aclose()

    async def numbers(self, question: Question) -> tuple[str, ...]:
        """The person's Patient IDs at this archive, as its identity node knows them.

        Raises:
            NodeError: that node did not say, or said one that an archive cannot be asked for.
        """
        try:
            numbers = await self._identities.patient_numbers(question, MRN + self.institution)
        except NodeError as error:
            raise type(error)(f"identity source {self._identities.id}: {error.detail}") from None
        if any(_WILDCARD.search(number) for number in numbers):
            raise NodeFaulty(f"identity source {self._identities.id}: a number that cannot be searched by")
        return numbers

    async def _ask(self, question: Question) -> Heard:
        if "imaging" not in question.kinds:
            return Heard()
        end = asyncio.get_running_loop().time() + _SHARE * min(self._timeout, question.budget)
        numbers = await self.numbers(question)
        bodies = await all_of(self._studies(number) for number in numbers)
        results: dict[str, Result] = {}
        modalities: dict[str, str] = {}
        odd: list[str] = []
        found: list[tuple[int, Study]] = []
        for number, body in zip(numbers, bodies, strict=True):
            for index, raw in enumerate(_list(body)):
                study = _study(raw, number)
                if study is None:
                    odd.append(f"study[{index}]")
                elif not (performed := study.performed[0]) or performed >= question.since:
                    found.append((index, study))
        unsaid = [study.uid.text for _, study in found if study.held is None]
        counted = dict(zip(unsaid, await all_of(self.by_series(uid) for uid in unsaid), strict=True))
        for index, study in found:
            result, modality = self._result(study, *counted.get(study.uid.text, ((), study.held or 0)))
            if results.setdefault(result.id, result) != result:
                odd.append(f"study[{index}]")
            modalities.setdefault(result.id, modality)
        digest = hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies)).digest()
        said = heard(list(results.values()), digest, odd, "studies", tuple(sorted(modalities.items())))
        return await self._with_images(said, end)

    async def _with_images(self, said: Heard, end: float) -> Heard:
        """Of each study the images that the archive shows, and the header of one."""
        wanted = sorted(
            (result for result in said.results if result.images and result.images.held),
            key=lambda result: (-result.performed.timestamp() if result.performed else 0.0, result.id),
        )
        asked = [(result.study_uid, result.images.held or 0) for result in wanted if result.images]
        shown = await self._presence.of(asked, end)
        return msgspec.structs.replace(
            said,
            results=tuple(_shown(result, shown.get(result.study_uid)) for result in said.results),
            headers=tuple(
                (result.id, seen.header)
                for result in said.results
                if (seen := shown.get(result.study_uid)) and seen.header
            ),
        )

    async def _studies(self, number: str) -> bytes:
        params = [("PatientID", number), *(("includefield", tag) for tag in _INCLUDE)]
        return await self.line.get_json("studies", params, accept=MEDIA)

    def _result(self, study: Study, modalities: tuple[str, ...], held: int) -> tuple[Result, str]:
        """One study and its modality; ``modalities`` are those of its series, where the study has none."""
        uid = study.uid.text
        performed, flags = study.performed
        codes = [code for text in study.modalities.texts or modalities for code in text.split("\\") if code]
        if codes and ACCOMPANYING.issuperset(codes):
            held = 0
        modality = single_modality(codes)
        local = LocalName(
            name=study.description.text, kind="imaging", modality=modality, site=self.institution
        )
        result = Result(
            id=f"{self.id}/studies/{uid}",
            node=self.id,
            kind="imaging",
            institution=self.institution,
            local_name=local.name,
            reading=reading(self._normaliser().read(local)),
            identity="strong",
            status="preliminary",
            performed=performed,
            reported=None,
            version_key=f"img|{uid}",
            study_uid=uid,
            images=Images(_AVAILABILITY.get(study.availability.text, held)),
            flags=flags,
            source=f"studies/{uid}",
        )
        return result, modality

    async def by_series(self, uid: str) -> tuple[tuple[str, ...], int]:
        """The modality of each series and the number of images of a study, for archives that do not know them
        of a study.

        Raises:
            NodeError: it did not say.
        """
        path = f"studies/{uid}/series"
        params = [("includefield", "00201209"), ("limit", _MANY)]
        series = _of_study(uid, await self.line.get_json(path, params, accept=MEDIA))
        counts = [count_of(entry.instances.text) for entry in series]
        uids = [entry.uid.text for entry, count in zip(series, counts, strict=True) if count is None]
        if not all(DICOM_UID.fullmatch(series_uid) for series_uid in uids):
            raise NodeFaulty("answered with a series that cannot be read")
        bodies = await all_of(
            self.line.get_json(f"{path}/{series_uid}/instances", {"limit": _MANY}, accept=MEDIA)
            for series_uid in uids
        )
        instances = [_of_study(uid, found) for found in bodies]
        if any(
            one.uid.text not in ("", own) for own, held in zip(uids, instances, strict=True) for one in held
        ):
            raise NodeFaulty("answered with an instance of another series")
        modalities = tuple(entry.modality.text for entry in series)
        return modalities, sum(count or 0 for count in counts) + sum(len(held) for held in instances)


def _shown(result: Result, shown: Shown | None) -> Result:
    return msgspec.structs.replace(result, images=shown.images) if shown else result


def _study(raw: Raw, number: str) -> Study | None:
    """One study of the patient with this number; None where it cannot be read.

    Raises:
        NodeFaulty: it is another patient's.
    """
    try:
        study = msgspec.json.decode(raw, type=Study)
    except msgspec.MsgspecError:
        return None
    if study.patient_id.text != number:
        raise NodeFaulty("answered with another person's resource: a study of another Patient ID")
    return study if DICOM_UID.fullmatch(study.uid.text) else None


def _of_study(uid: str, body: bytes) -> list[_Series]:
    """Series or instances of one study.

    Raises:
        NodeFaulty: one cannot be read, or is of another study.
    """
    try:
        found = [_SERIES.decode(raw) for raw in _list(body)]
    except msgspec.MsgspecError:
        raise NodeFaulty("answered with a series or instance that cannot be read") from None
    if any(one.study.text not in ("", uid) for one in found):
        raise NodeFaulty("answered with another study's UID: a series or instance that is not of it")
    return found


def _list(body: bytes) -> tuple[Raw, ...]:
    try:
        return msgspec.json.decode(body, type=tuple[Raw, ...]) if body else ()
    except msgspec.MsgspecError:
        raise NodeFaulty("answered a query with something that is no DICOM JSON list") from None
