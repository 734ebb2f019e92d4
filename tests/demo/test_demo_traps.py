"""The expected verdicts of the hard cases follow from the rules: judged here without server or adapter."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

import msgspec
import pytest

from catalog import BUNDLED, Catalogue, load
from gateway.demo._writer import PRINTED_MARK
from gateway.demo.people import BY_KEY
from gateway.demo.records import NODES, Records, everything
from gateway.demo.traps import TRAPS, ResultKey, Trap
from mapping import LocalName, Normaliser, printed_range
from recognition import SHANGHAI, Check, Images, Mark, Planned, Reading, Result, decide


# Early afternoon, just after midnight and just before it, in Shanghai.
@pytest.fixture(scope="module", params=["2026-11-21T13:30", "2026-12-01T00:00:30", "2028-02-29T23:59:30"])
def now(request: pytest.FixtureRequest) -> datetime:
    return datetime.fromisoformat(request.param).replace(tzinfo=SHANGHAI)


@pytest.fixture(scope="module")
def records(now: datetime) -> Records:
    return everything(now)


@pytest.fixture(scope="module")
def catalogue(records: Records) -> Catalogue:
    bundled = load(BUNDLED)
    return msgspec.structs.replace(bundled, qualifications=bundled.qualifications + records.qualifications)


@pytest.fixture(scope="module")
def held(records: Records, catalogue: Catalogue) -> dict[str, list[Result]]:
    """Every result of every node by person, as an adapter should read it."""
    normaliser = Normaliser(catalogue)
    stored = {s[0].StudyInstanceUID: len(s) for studies in records.studies.values() for s in studies}
    found: dict[str, list[Result]] = defaultdict(list)
    for node in NODES.values():
        entries = [e["resource"] for e in msgspec.json.decode(records.bundles[node])["entry"]]
        studies = {e["id"]: e for e in entries if e["resourceType"] == "ImagingStudy"}
        for entry in entries:
            if entry["resourceType"] in ("Observation", "DiagnosticReport"):
                who = entry["subject"]["reference"].removeprefix("Patient/")
                found[who].append(result(entry, studies, stored, normaliser, catalogue, node))
    return found


def result(
    entry: dict[str, Any],
    studies: dict[str, Any],
    stored: dict[str, int],
    normaliser: Normaliser,
    catalogue: Catalogue,
    node: str,
) -> Result:
    imaging = entry["resourceType"] == "DiagnosticReport"
    study = studies[entry["imagingStudy"][0]["reference"].removeprefix("ImagingStudy/")] if imaging else {}
    uid = study["identifier"][0]["value"].removeprefix("urn:oid:") if imaging else ""
    quantity, name = entry.get("valueQuantity", {}), entry["code"]["text"]
    specimen = entry.get("specimen", {}).get("display", "")
    modality = study["modality"][0]["code"] if imaging else ""
    kind = "imaging" if imaging else "lab"
    read = normaliser.read(LocalName(name=name, kind=kind, modality=modality, specimen=specimen))
    institution = entry["performer"][0]["identifier"]["value"]
    extension = [e["valueString"] for e in entry.get("extension", ()) if e["url"] == PRINTED_MARK]
    printed = printed_range(extension[0]) if extension else (read.mark or "")
    scope = catalogue.scope_of_mark(printed, catalogue.institution(institution).region)
    return Result(
        id=f"{entry['resourceType']}/{entry['id']}",
        node=node,
        kind="imaging" if imaging else "lab",
        institution=institution,
        local_name=name,
        reading=Reading(read.item, read.target, read.reason),
        identity="strong",
        status=entry["status"],
        performed=datetime.fromisoformat(entry["effectiveDateTime"]),
        reported=datetime.fromisoformat(entry["issued"]),
        version_key=entry["identifier"][0]["value"],
        specimen=specimen,
        value=f"{quantity.get('comparator', '')}{quantity.get('value', '')}",
        unit=quantity.get("unit", ""),
        study_uid=uid,
        images=Images(stored.get(uid, 0), study["numberOfInstances"]) if imaging else None,
        mark=Mark(scope, printed, "valid"),
    )


def planned(name: str, trap: Trap, catalogue: Catalogue) -> Planned:
    normaliser = Normaliser(catalogue)
    if panel := normaliser.panel(name):
        return Planned(name, catalogue.panels[panel].members, panel)
    item = normaliser.read(LocalName(name=name, kind=trap.kind)).item
    assert item is not None
    return Planned(name, (item,))


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.key)
def test_the_rules_give_every_trap_its_expected_verdicts(
    trap: Trap, held: dict[str, list[Result]], catalogue: Catalogue, now: datetime
) -> None:
    plans = tuple(planned(name, trap, catalogue) for name in trap.ordered)
    check = Check(at=now, receiver=trap.asked_by, planned=plans)
    answer: dict[ResultKey, tuple[str, str]] = {}
    for v in decide(check, held[trap.person], catalogue).verdicts:
        name: ResultKey = (v.result.institution, v.result.local_name)
        answer[name if name in trap.expected else v.result.id] = (v.verdict, v.reasons[0].rule)
    assert answer == trap.expected


def test_every_trap_names_a_person_and_the_gateway_of_the_asking_institution(catalogue: Catalogue) -> None:
    assert all(
        trap.person in BY_KEY and trap.through == catalogue.institution(trap.asked_by).gateway
        for trap in TRAPS
    )


def test_ten_of_twelve_are_recognised_in_the_liver_panel() -> None:
    liver = next(trap for trap in TRAPS if trap.key == "liver-panel")
    assert sum(verdict == "recognised" for verdict, _ in liver.expected.values()) == 10
