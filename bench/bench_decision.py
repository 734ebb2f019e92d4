"""The decision in process: 10 prior results of one check; bar: at most 200 µs (design, section 7)."""

from __future__ import annotations

import json

import msgspec

from bench.machine import cpu_us, heading
from recognition import decide
from tests.recognition.cases import catalogue, check, ct, lab


def main() -> None:
    """Measure and print."""
    heading("decision in process", "make bench")
    panel = catalogue().panels["LFT"].members
    results = [lab(code, id=code, version_key=code) for code in panel[:9]] + [ct()]
    asked = check(*panel)
    catalogue().negative_list  # noqa: B018 - compile before measuring
    decide(asked, results, catalogue())
    took = cpu_us(lambda: decide(asked, results, catalogue()))
    data = msgspec.to_builtins(results)
    baseline = cpu_us(lambda: json.loads(json.dumps(data)))
    ratio = took / baseline
    print(f"  10 results: {took:.0f} µs CPU, bar 200 µs; {ratio:.2f} × a JSON round trip of the same results")


if __name__ == "__main__":
    main()
