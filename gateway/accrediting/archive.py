"""What a DICOMweb archive is asked, beyond the questions of a gateway (PS3.18 sections 10.4 and 10.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from adapters import Identities, NodeFaulty, NodeRefused, Question
from adapters.dicomweb import MEDIA, MRN
from gateway.accrediting import behaviour, shown
from gateway.accrediting.kit import Kit, Seen, each, passed, unless
from gateway.accrediting.values import Patient

_NOBODY = "lianren-nobody"
_OF_NOBODY = f"studies?PatientID={_NOBODY}&limit=1"
_NO_STUDY = "2.25.1099511627775"
_HEAD = 512 * 1024
"""As much of an image as is read: enough for a boundary, headers and the preamble."""
_ALL = {"limit": "10000"}


class Element(Struct, frozen=True):
    """An attribute (PS3.18 F.2)."""

    values: tuple[object, ...] = field(default=(), name="Value")

    @property
    def text(self) -> str:
        """The first value; of a person's name all its representations."""
        first = self.values[0] if self.values else ""
        return "|".join(map(str, first.values())) if isinstance(first, dict) else str(first)


class Held(Struct, frozen=True, kw_only=True):
    """What is read of a study, series or instance."""

    patient_id: Element = field(default=Element(), name="00100020")
    patient_name: Element = field(default=Element(), name="00100010")
    study: Element = field(default=Element(), name="0020000D")
    series: Element = field(default=Element(), name="0020000E")
    instance: Element = field(default=Element(), name="00080018")
    count: Element = field(default=Element(), name="00201208")


class Local:
    """The local numbers of the patients file, for an archive whose FHIR node is not at hand; see
    :class:`adapters.Identities`."""

    id = "patients-file"

    def __init__(self, patients: Sequence[Patient]) -> None:
        self._numbers = {patient.person: patient.said.local for patient in patients}

    async def patient_numbers(self, question: Question, system: str) -> tuple[str, ...]:
        """The number that the file gives."""
        number = self._numbers.get(question.person, "")
        return (number,) if number else ()


class Archive:
    """The checks of an archive, in their order; ``identities`` knows its patients' local numbers."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.checks: dict[str, Callable[[Kit], Awaitable[Seen]]] = {
            "identity.reachable": self.reachable,
            "identity.found": self.found,
            "identity.unknown": self.unknown,
            "identity.exact": self.exact,
            "identity.own": shown.own,
            "search.paging": self.paging,
            "search.page_size": self.page_size,
            "search.complete": shown.complete,
            "retrieval.readable": shown.readable,
            "retrieval.studies": shown.studies,
            "retrieval.images": self.images,
            "retrieval.metadata": self.metadata,
            "retrieval.instance": self.instance,
            "retrieval.frames": self.frames,
            "names.read": shown.names,
            "times.stated": shown.times_stated,
            "times.expected": shown.times_expected,
            "times.clock": behaviour.clock("studies?limit=1"),
            "charset.text": shown.text,
            "charset.person_names": self.person_names,
            "errors.bad_request": behaviour.refuses(f"{_OF_NOBODY}lianren", MEDIA, "advice"),
            "errors.unknown_path": behaviour.refuses("lianren", MEDIA, "advice"),
            "errors.unknown_resource": behaviour.refuses(f"studies/{_NO_STUDY}/metadata", MEDIA, "advice"),
            "errors.token": self.token,
            "behaviour.slow_client": behaviour.slow_client("studies?limit=1", MEDIA),
            "behaviour.many_clients": behaviour.many_clients,
            "behaviour.leaving_client": behaviour.leaving_client,
        }

    async def reachable(self, kit: Kit) -> Seen:
        """A search for nobody."""
        await _find(kit, "studies", {"PatientID": _NOBODY, "limit": "1"})
        return passed()

    async def found(self, kit: Kit) -> Seen:
        """Studies of every patient whom the archive is said to have."""

        async def look(patient: Patient) -> str | None:
            if not any(one.kind == "imaging" for one in patient.said.results):
                return None
            return "" if await self._studies(kit, patient) else "no study"

        return await each(kit, look)

    async def unknown(self, kit: Kit) -> Seen:
        """Nothing, where nobody has the number."""
        led = await _find(kit, "studies", {"PatientID": _NOBODY, "limit": "1"})
        return passed() if not led else Seen("fix", "a study")

    async def exact(self, kit: Kit) -> Seen:
        """Nothing of a patient whose number is cut short. What is left of a short one could be nobody's
        number, which asks for everybody (PS3.4 C.2.2.2.3)."""

        async def look(patient: Patient) -> str | None:
            numbers = [number for number in await self._numbers(kit, patient) if len(number) > 2]
            led = [
                one.patient_id.text == number
                for number in numbers
                for one in await _find(kit, "studies", {"PatientID": number[:-1], "limit": "100"})
            ]
            return None if not numbers else "found" if any(led) else ""

        return await each(kit, look)

    async def paging(self, kit: Kit) -> Seen:
        """One study after another, by limit and offset."""

        async def look(patient: Patient) -> str | None:
            said: str | None = None
            for local in await self._numbers(kit, patient):
                asked = {"PatientID": local}
                whole = sorted(one.study.text for one in await _find(kit, "studies", asked))
                if 1 < len(whole) <= 40:
                    offsets = [asked | {"limit": "1", "offset": str(at)} for at in range(len(whole))]
                    pages = [one.study.text for page in offsets for one in await _find(kit, "studies", page)]
                    said = said or ("" if sorted(pages) == whole else f"{len(set(pages))} / {len(whole)}")
            return said

        return await each(kit, look)

    async def page_size(self, kit: Kit) -> Seen:
        """A limit of one."""
        for patient in kit.patients.known:
            for local in await self._numbers(kit, patient):
                if len(await _find(kit, "studies", {"PatientID": local})) > 1:
                    page = await _find(kit, "studies", {"PatientID": local, "limit": "1"})
                    return Seen("passed" if len(page) == 1 else "advice", str(len(page)))
        return Seen("not_made", "no patient with two studies")

    async def images(self, kit: Kit) -> Seen:
        """The instances of each study, counted, beside what it states and what the owner expects."""
        expected = {got.id: wanted.images for wanted, got in await kit.expected() if got}
        wrong, results = [], await kit.results()
        for result in results:
            held = len(await _instances(kit, result.study_uid))
            stated, wanted = result.images.held if result.images else None, expected.get(result.id)
            if held != stated or wanted not in (None, held):
                wrong.append(f"{result.source}: {held}, {stated if wanted is None else wanted}")
        return unless(wrong, len(results))

    async def metadata(self, kit: Kit) -> Seen:
        """Of each study, an entry for every instance."""
        wrong, results = [], await kit.results()
        for result in results:
            held = await _instances(kit, result.study_uid)
            described = await _find(kit, f"studies/{result.study_uid}/metadata", {})
            if {uid for _, uid in held} != {one.instance.text for one in described}:
                wrong.append(f"{result.source}: {len(described)} / {len(held)}")
        return unless(wrong, len(results))

    async def instance(self, kit: Kit) -> Seen:
        """The first instance of a study, as a DICOM file in a multipart body."""
        if (path := await _first(kit)) is None:
            return Seen("not_made", "no study")
        media, start = await _part(kit, path, 'multipart/related; type="application/dicom"')
        if not media.startswith("multipart/related"):
            return Seen("fix", media or "no media type")
        body = start.partition(b"\r\n\r\n")[2]
        return passed() if body[128:132] == b"DICM" else Seen("fix", "no DICOM file in its first part")

    async def frames(self, kit: Kit) -> Seen:
        """The first frame of an instance."""
        if (path := await _first(kit)) is None:
            return Seen("not_made", "no study")
        accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
        try:
            media, start = await _part(kit, f"{path}/frames/1", accept)
        except (NodeRefused, NodeFaulty) as wrong:
            return Seen("advice", wrong.detail)
        whole = media.startswith("multipart/related") and start.partition(b"\r\n\r\n")[2]
        return passed() if whole else Seen("advice", media or "no media type")

    async def person_names(self, kit: Kit) -> Seen:
        """As the owner writes them, in any of their representations; the names are not told."""

        async def look(patient: Patient) -> str | None:
            name = _plain(patient.said.name)
            written = [_plain(one.patient_name.text) for one in await self._studies(kit, patient)]
            return (
                None if not (name and written) else "" if all(name in one for one in written) else "another"
            )

        return await each(kit, look)

    async def token(self, kit: Kit) -> Seen:
        """A search for nobody."""
        return await behaviour.wrong_token(kit, lambda line: line.get_json(_OF_NOBODY, accept=MEDIA))

    async def _numbers(self, kit: Kit, patient: Patient) -> tuple[str, ...]:
        system = MRN + kit.settings.institution
        return await self.identities.patient_numbers(kit.question(patient.person), system)

    async def _studies(self, kit: Kit, patient: Patient) -> list[Held]:
        params = {"includefield": "00100010"}
        return [
            one
            for local in await self._numbers(kit, patient)
            for one in await _find(kit, "studies", {"PatientID": local, **params})
            if one.patient_id.text == local
        ]


async def _find(kit: Kit, path: str, params: dict[str, str]) -> list[Held]:
    body = await kit.line.get_json(path, params, accept=MEDIA)
    return msgspec.json.decode(body, type=list[Held]) if body else []


async def _instances(kit: Kit, study: str) -> list[tuple[str, str]]:
    """Series and instance UIDs, by the way that every archive knows."""
    series = [one.series.text for one in await _find(kit, f"studies/{quote(study)}/series", _ALL)]
    return [
        (uid, one.instance.text)
        for uid in series
        for one in await _find(kit, f"studies/{quote(study)}/series/{quote(uid)}/instances", _ALL)
    ]


async def _first(kit: Kit) -> str | None:
    """The path of one instance of the first study that has any."""
    for result in await kit.results():
        for series, instance in await _instances(kit, result.study_uid):
            return f"studies/{result.study_uid}/series/{quote(series)}/instances/{quote(instance)}"
    return None


async def _part(kit: Kit, path: str, accept: str) -> tuple[str, bytes]:
    """The media type of an answer, and the beginning of its body.

    Raises:
        NodeRefused, NodeFaulty: it is no 200.
    """
    async with kit.line.stream(path, accept=accept) as incoming:
        if incoming.status != 200:
            error = NodeRefused if 400 <= incoming.status < 500 else NodeFaulty
            raise error(f"status {incoming.status}")
        body = bytearray()
        async for piece in incoming:
            body += piece
            if len(body) >= _HEAD:
                break
        return incoming.headers.get("content-type", ""), bytes(body)


def _plain(name: str) -> str:
    return "".join(character for character in name if character not in " ^=").casefold()
