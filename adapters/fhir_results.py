"""From FHIR R4 resources to results.

An Observation is one laboratory result. An ImagingStudy with its DiagnosticReport is one imaging result; its
images are counted by the archive later (``join.py``). What is missing, odd or contradicts itself is a flag on
the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from adapters.fhir_read import (
    Concept,
    DiagnosticReport,
    ImagingStudy,
    Observation,
    Quantity,
    Reference,
    Specimen,
    Unreadable,
    read,
)
from adapters.fhir_time import moment
from mapping import LocalName, Named, canonical, same_unit
from mapping.sites import Reads
from recognition import Images, Reading, Result
from recognition.model import ResultStatus

UNKNOWN_SPECIMEN = "?"
"""A specimen that is stated and could not be read: mapping fits no item to it."""

# ObservationInterpretation (HL7 v3 code system): the codes that say "not normal".
ABNORMAL = frozenset({"A", "AA", "H", "HH", "HU", "HX", "L", "LL", "LU", "LX", "<", ">", "POS"})

# Objects that accompany the images of a study without being an examination of their own (PS3.3 C.7.3.1.1.1).
ACCOMPANYING = frozenset({"SR", "PR", "KO", "DOC", "SEG", "REG", "OT", "AU"})

_UCUM = "http://unitsofmeasure.org"
_LOCAL_CODES = "urn:lianren:local:"
_ITEM_CODE = re.compile(r"[0-9]{7}[A-Z]")  # WS/T 886

_STATUS: dict[str, ResultStatus] = {
    "registered": "preliminary",
    "partial": "preliminary",
    "preliminary": "preliminary",
    "unknown": "preliminary",
    "final": "final",
    "amended": "amended",
    "appended": "amended",
    "corrected": "corrected",
    "cancelled": "cancelled",
    "entered-in-error": "entered-in-error",
}
_WEAK: tuple[ResultStatus, ...] = ("entered-in-error", "cancelled", "preliminary")


def single_modality(codes: Iterable[str]) -> str:
    """The one modality of an examination, or empty where there are several (PET/CT); CR and DX are DR."""
    found = {{"CR": "DR", "DX": "DR"}.get(c, c) for c in codes if c and c not in ACCOMPANYING}
    return found.pop() if len(found) == 1 else ""


def reading(named: Named) -> Reading:
    """What the decision needs of a reading."""
    return Reading(item=named.item, concept=named.target, reason=named.reason)


def mark_on_name(named: Named) -> str:
    """The mark inside a name, as it would be printed; empty without one, HR for a bare one or a star."""
    return "" if named.mark is None else f"{named.mark}HR"


class Reader:
    """Reads one node's resources: its id and institution go into the results."""

    def __init__(self, node: str, institution: str, normaliser: Reads) -> None:
        self._node = node
        self._institution = institution
        self._normaliser = normaliser

    def laboratory(
        self, observation: Observation, reports: Sequence[DiagnosticReport] = (), specimen: str = ""
    ) -> Result | None:
        """One laboratory result; None for the header of a panel, which has members and no value of its own.

        ``reports`` hold it, the newest last: that one lends its mark, time and institution, and each a status
        that is weaker than the result's own. ``specimen`` is the text of :func:`specimen_of`.

        Raises:
            Unreadable: the value is not of its type.
        """
        value, unit = observation.value
        if observation.has_member and not value:
            return None
        report = reports[-1] if reports else None
        institution = observation.institution() or (report.institution() if report else "")
        local = LocalName(
            name=observation.code.name,
            kind="lab",
            specimen=specimen,
            unit=unit,
            site=institution or self._institution,
            code=_local_code(observation.code),
        )
        named = self._normaliser.read(local)
        read_as = Reading(None, None, "conflict") if _coded_otherwise(observation, named) else reading(named)
        performed, odd = moment(observation.examined, "performed")
        reported, odder = moment(observation.issued or (report.issued if report else ""), "reported")
        status, unknown = _weakest(observation.status, *(holding.status for holding in reports))
        source = f"Observation/{observation.id}"
        number = observation.number(institution or self._institution) or f"{self._node}/{source}"
        return Result(
            id=f"{self._node}/{source}",
            node=self._node,
            kind="lab",
            institution=institution or self._institution,
            local_name=local.name,
            reading=read_as,
            identity="strong",
            status=status,
            performed=performed,
            reported=reported,
            # One accession number may stand on every analyte of a sample.
            version_key=f"lab|{number}|{read_as.item or canonical(local.name).canonical}",
            specimen=local.specimen,
            value=value,
            unit=unit,
            reference=observation.reference,
            abnormal=any(c.code in ABNORMAL for i in observation.interpretation for c in i.coding),
            printed_mark=observation.printed_mark()
            or (report.printed_mark() if report else "")
            or mark_on_name(named),
            flags=_flags(
                odd,
                odder,
                unknown,
                () if institution else ("completeness:no-institution",),
                ("accuracy:value-and-absent-reason",) if value and observation.data_absent_reason else (),
                ("consistency:unit-and-code-differ",) if _two_units(observation.value_quantity) else (),
            ),
            source=source,
        )

    def imaging(self, study: ImagingStudy | None, report: DiagnosticReport | None) -> Result:
        """One imaging result from a study, its report, or both.

        Without a report nobody has signed the examination off, so it is ``preliminary``. Without a study
        there are no images; whether there are is unknown where the report names a study that the node did
        not show. Name, number and mark are the report's where there is one.
        """
        institution = report.institution() if report else ""
        site = institution or self._institution
        own = self._named(report.code if report else Concept(), study, site)
        other = self._named(Concept(text=study.description if study else ""), study, site)
        first = own if own.name else other
        flags: tuple[str, ...] = ()
        if own.item and other.item and own.item != other.item:
            flags = ("consistency:name-on-study-and-report-differ",)
        stated_time = (study.started if study else "") or (report.examined if report else "")
        performed, odd = moment(stated_time, "performed")
        reported, odder = moment(report.issued if report else "", "reported")
        status, unknown = _weakest(report.status) if report else ("preliminary", ())
        if study and study.status in ("cancelled", "entered-in-error"):
            status, unknown = _weakest(study.status)
        uid = study.uid if study else ""
        places = [f"DiagnosticReport/{report.id}"] if report else []
        if study and (not report or len(report.imaging_study) > 1):
            places.append(f"ImagingStudy/{study.id}")
        number = report.number(institution or self._institution) if report else ""
        # Two reports on one study (chest and abdomen) are two results; a corrected one keeps its number.
        named = (first.item or canonical(first.name).canonical) if uid else f"{self._node}/{places[0]}"
        unheard = study is None and report is not None and bool(report.imaging_study)
        return Result(
            id="/".join([self._node, *places]),
            node=self._node,
            kind="imaging",
            institution=institution or self._institution,
            local_name=first.name,
            reading=reading(first),
            identity="strong",
            status=status,
            performed=performed,
            reported=reported,
            version_key=f"img|{uid}|{number or named}",
            study_uid=uid,
            images=Images(None, study.number_of_instances) if study else Images(None if unheard else 0),
            printed_mark=(report.printed_mark() if report else "") or mark_on_name(first),
            flags=_flags(
                flags,
                odd,
                odder,
                unknown,
                ("completeness:no-institution",) if report and not institution else (),
                ("completeness:no-study-uid",) if study and not uid else (),
                ("completeness:study-not-held",) if unheard else (),
            ),
            source="/".join(places),
        )

    def _named(self, said: Concept, study: ImagingStudy | None, site: str) -> Named:
        stated = (study.modality or tuple(s.modality for s in study.series)) if study else ()
        modality = single_modality(c.code for c in stated)
        return self._normaliser.read(
            LocalName(name=said.name, kind="imaging", modality=modality, site=site, code=_local_code(said))
        )


def specimen_of(observation: Observation, included: Mapping[str, Specimen], base: str) -> str:
    """The specimen as written on the reference and on the Specimen that it leads to; both where they differ.

    ``included`` are by ``Specimen/<id>`` of the server at ``base``. A specimen that is stated and cannot be
    had is :data:`UNKNOWN_SPECIMEN`; empty where none is stated.
    """
    stated = observation.specimen
    if stated == Reference():
        return ""
    found = included.get(stated.below(base))
    for raw in observation.contains("Specimen"):
        try:
            contained = read(raw, Specimen)
        except Unreadable:
            continue
        if stated.reference == f"#{contained.id}":
            found = contained
    said, display = found.type.name.strip() if found else "", stated.display.strip()
    if said and display and canonical(said).canonical != canonical(display).canonical:
        return f"{display}/{said}"
    return said or display or UNKNOWN_SPECIMEN


def _local_code(said: Concept) -> str:
    """The code that the site itself gives to a name."""
    return next((c.code for c in said.coding if c.system.startswith(_LOCAL_CODES)), "")


def _coded_otherwise(observation: Observation, named: Named) -> bool:
    codes = {c.code for c in observation.code.coding if not c.system.startswith(_LOCAL_CODES)}
    return named.item is not None and any(_ITEM_CODE.fullmatch(c) and c != named.item for c in codes)


def _two_units(quantity: Quantity | None) -> bool:
    if quantity is None or quantity.system not in ("", _UCUM):
        return False
    code = re.sub(
        r"\{[^}]*\}|[\[\]]", "", quantity.code
    )  # UCUM: annotations, and the brackets of [IU], mm[Hg]
    return bool(quantity.unit and code) and not same_unit(quantity.unit, code)


def _weakest(own: str, *holding: str) -> tuple[ResultStatus, tuple[str, ...]]:
    """The status of a record, or a weaker one of what holds it; and a flag where one is not said."""
    stated = (own, *holding)
    known = all(status in _STATUS and status != "unknown" for status in stated)
    read_as = [_STATUS.get(status, "preliminary") for status in stated]
    weak = next((status for status in _WEAK if status in read_as), None)
    return weak or read_as[0], () if known else ("completeness:no-status",)


def _flags(*found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({flag for flags in found for flag in flags}))
