"""A publisher's own resources over HTTP; bars: read at most 2 ×, local search 4 × the CPU of raw ASGI.

Measured as ``$translate`` is (:mod:`bench.bench_translate`): processes of their own on one core, the raw one
answering constant bytes as long as the answer. The embedded store holds laboratory Observations of some
patients; "new" reads nothing twice. A hospital's search for a person is more than a search of the store: it
asks for consent and is written to the ledger before it is answered, so that it waits for the disk.
"""

from __future__ import annotations

import io
import os
import secrets
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec
from msgspec.structs import replace

from bench.bench_translate import Server, _raw, ask, get, measured, running
from bench.machine import heading
from gateway.app import create_app
from gateway.demo.people import check_digit
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.serving import config_of
from gateway.tasks import settle
from security.identity import RESIDENT_SYSTEM
from tests.gateway.live import CLIENTS, OWN, settings_for
from tests.serving import serve

PATIENTS, EACH = 500, 20
REPORTS = "urn:lianren:report:EX-CQ-01"
_LABORATORY = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}


def main() -> None:
    """Measure and print."""
    heading("a publisher's resources", "python -m bench.bench_resources")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"  {PATIENTS * EACH:,} Observations of {PATIENTS} patients in the embedded store")
    number = quote(f"{REPORTS}|R", safe="")
    reads = {
        "read": lambda n: get(f"/fhir/Observation/o{n % 10}"),
        "read, new": lambda n: get(f"/fhir/Observation/o{n % (PATIENTS * EACH)}"),
        "vread": lambda n: get(f"/fhir/Observation/o{n % 10}/_history/1"),
    }
    searches = {
        "search, one found": lambda n: get(f"/fhir/Observation?identifier={number}{n % (PATIENTS * EACH)}"),
        f"search, {EACH} found": lambda n: get(f"/fhir/Observation?patient=p{n % PATIENTS}"),
    }
    persons = {f"search of a person, {EACH} found, on record": lambda n: _of_person(n % PATIENTS)}
    with running(_gateway) as gateway:
        publisher, his = (replace(gateway, token=token) for token in gateway.token.split())
        for bar, asking, ways in ((2, publisher, reads), (4, publisher, searches), (None, his, persons)):
            for title, way in ways.items():
                _print(asking, title, way, bar)


def _print(gateway: Server, title: str, way: Callable[[int], bytes], bar: int | None) -> None:
    body = ask(gateway, [way(0)]).partition(b"\r\n\r\n")[2]
    with running(_raw, body) as raw:
        constant, took = measured([(raw, way), (gateway, way)])
    told = f"; bar {bar} ×" if bar else ""
    print(f"  {title:44} {took:7.1f} µs CPU, {took / constant:5.2f} × raw ({len(body):,} bytes{told})")


def observation(number: int) -> bytes:
    """A laboratory Observation as hospitals send them."""
    return msgspec.json.encode(
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "identifier": [{"system": REPORTS, "value": f"R{number}"}],
            "status": "final",
            "category": [{"coding": [_LABORATORY]}],
            "code": {"text": "白蛋白", "coding": [{"system": "urn:lianren:local:EX-CQ-01", "code": "ALB"}]},
            "subject": {"reference": f"Patient/p{number // EACH}"},
            "effectiveDateTime": "2026-11-19T08:00:00+08:00",
            "issued": "2026-11-19T10:00:00+08:00",
            "performer": [{"identifier": {"system": "urn:lianren:institution", "value": OWN}}],
            "valueQuantity": {"value": 40.8, "unit": "g/L"},
            "specimen": {"display": "血清"},
            "referenceRange": [{"low": {"value": 40, "unit": "g/L"}, "high": {"value": 55, "unit": "g/L"}}],
        }
    )


def _number(patient: int) -> str:
    number = f"99000019900101{patient:03}"
    return number + check_digit(number)


def _patient(number: int) -> bytes:
    stated = [{"system": RESIDENT_SYSTEM, "value": _number(number)}]
    return msgspec.json.encode({"resourceType": "Patient", "id": f"p{number}", "identifier": stated})


def _of_person(patient: int) -> bytes:
    body = f"patient.identifier={quote(RESIDENT_SYSTEM, safe='')}%7C{_number(patient)}".encode()
    head = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    return get("/fhir/Observation/_search", "POST") + head.encode() + body


def _fill(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        for patient in range(PATIENTS):
            records = [observation(number) for number in range(patient * EACH, (patient + 1) * EACH)]
            entries = [
                {
                    "resource": msgspec.Raw(one),
                    "request": {"method": "PUT", "url": f"{type_}/{id_}"},
                }
                for type_, id_, one in [
                    ("Patient", f"p{patient}", _patient(patient)),
                    *(("Observation", f"o{patient * EACH + n}", one) for n, one in enumerate(records)),
                ]
            ]
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            client.post("/fhir", content=msgspec.json.encode(bundle)).raise_for_status()


def _gateway(line: Connection) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
        nodes = [{"id": "cq-index", "kind": "published", "institution": OWN}]
        settings = settings_for(Path(folder), tokens, nodes, pseudonyms_per_minute=10_000_000)
        make_keys(settings)
        with serve(create_app(settings, Log(io.StringIO())), config=config_of) as url:
            _fill(url, tokens["publisher"])
            settle()
            line.send((url, f"{tokens['publisher']} {tokens['his']}"))
            line.recv()


if __name__ == "__main__":
    main()
