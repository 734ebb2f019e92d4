"""One list out of ten archives with 200 studies each (107 KB); bar: at most 0.6 × what orjson takes to load
and dump the same bytes (design, section 7).

``read``: from the bytes of each archive to objects that are the person's, each with its UID, its time and how
many images it has. ``merge``: from these to the body of the answer, as a gateway does it: looked through for
texts and addresses that have to be changed, every study with the address of its images, the viewing's
patient, the archive's own id, a verdict and the other private attributes, each once and in order, though some
are in two archives. ``both``: the whole way from bytes to bytes. What is written is twice what was read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from adapters.dicomweb_studies import listed_in
from bench.machine import heading
from gateway.imaging import merging
from gateway.imaging.meant import doubtful
from gateway.imaging.merging import Frame, Told
from gateway.imaging.values import Source, Viewing
from security.identity import identifier

ARCHIVES, STUDIES, ROUNDS = 10, 200, 41


def main() -> None:
    """Measure and print."""
    heading("one QIDO-RS list over ten archives", "python -m bench.bench_qido")
    bodies = [body(archive) for archive in range(ARCHIVES)]
    told = [read(archive, one) for archive, one in enumerate(bodies)]
    frame = framed(told)
    merged = merge(told, frame)
    found = msgspec.json.decode(merged, type=list[dict[str, Any]])
    assert len(found) == ARCHIVES * STUDIES - 100
    assert all(list(one) == sorted(one) and one["00771001"]["Value"] for one in found)
    size = f"{len(bodies[0]) / 1000:.0f} KB"
    print(f"  {ARCHIVES} archives of {STUDIES} studies, {size} each; a list of {len(found)}")
    ways: list[Callable[[], object]] = [
        lambda: [orjson.dumps(orjson.loads(one)) for one in bodies],
        lambda: [read(archive, one) for archive, one in enumerate(bodies)],
        lambda: merge(told, frame),
        lambda: merge([read(archive, one) for archive, one in enumerate(bodies)], frame),
    ]
    base, reading, merging_, whole = in_turns(ways)
    print(f"  orjson loads + dumps: {base:7.2f} ms CPU")
    print(f"  read:                 {reading:7.2f} ms CPU; {reading / base:.2f} ×")
    print(f"  merge:                {merging_:7.2f} ms CPU; {merging_ / base:.2f} × (bar: 0.6)")
    print(f"  both:                 {whole:7.2f} ms CPU; {whole / base:.2f} ×")
    print(f"  load {os.getloadavg()[0]:.1f}")


def in_turns(ways: list[Callable[[], object]]) -> list[float]:
    """CPU milliseconds of each: the least of rounds that take turns, which other work on the machine does not
    lengthen; the first warms up."""
    runs: list[list[float]] = [[] for _ in ways]
    for turn in range(ROUNDS + 1):
        for way, held in zip(ways, runs, strict=True):
            began = time.process_time()
            way()
            if turn:
                held.append((time.process_time() - began) * 1000)
    return [min(held) for held in runs]


def merge(told: list[Told], frame: Frame) -> bytes:
    """The body of the answer."""
    return merging.encoded(merging.studies(looked_at(told), frame))


def looked_at(told: list[Told]) -> list[Told]:
    """What was told, once it is seen that no text and no address of it has to be changed."""
    assert not any(doubtful(each.listed) for each in told)
    return told


def read(archive: int, answer: bytes) -> Told:
    """What an archive told."""
    listed, odd = listed_in(answer, "studies", f"MRN{archive:04}")
    assert not odd
    return Told(f"pacs-{archive}", "EX-CQ-01", f"MRN{archive:04}", listed)


def framed(told: list[Told]) -> Frame:
    """A viewing, and where each study is."""
    sources: dict[str, tuple[Source, ...]] = {}
    for one in told:
        for listed in one.listed:
            sources[listed.uid] = (
                *sources.get(listed.uid, ()),
                Source(one.way, one.number, listed.instances),
            )
    now = datetime.now(UTC)
    viewing = Viewing(
        id="v", client="his", institution="EX-CQ-01", purpose="TREAT",
        person=identifier("resident-id", "990000190001010016"), pseudonyms=("p",),
        patient_id="ALIAS2345ALIAS2345ALIAS23", opened=now, ends=now + timedelta(minutes=30), question="q",
    )  # fmt: skip
    return Frame(base="https://cq.example/dicomweb", fhir="https://cq.example/fhir", issuer="cq",
                 viewing=viewing, sources=sources)  # fmt: skip


def body(archive: int) -> bytes:
    """The answer of one archive: some studies are the next archive's, too."""
    return orjson.dumps([study(archive, number) for number in range(STUDIES)])


def study(archive: int, number: int) -> dict[str, Any]:
    """One study with what archives tell of it."""
    home = (archive + 1) % ARCHIVES if number % 10 == 0 and archive % 2 == 0 else archive
    uid = f"1.2.826.0.1.3680043.8.498.1{home:05}{number:05}"
    values: dict[str, tuple[str, Any]] = {
        "00080020": ("DA", f"2026{number % 12 + 1:02}{number % 28 + 1:02}"),
        "00080030": ("TM", f"10{number % 60:02}12"),
        "00080061": ("CS", "CT"),
        "00081030": ("LO", "胸部CT平扫"),
        "00081190": ("UR", f"http://127.0.0.1/dicom-web/studies/{uid}"),
        "00100010": ("PN", {"Alphabetic": "Shili^San", "Ideographic": "示例^三"}),
        "00100020": ("LO", f"MRN{archive:04}"),
        "0020000D": ("UI", uid),
        "00201208": ("IS", 100),
    }
    return {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}


if __name__ == "__main__":
    main()
