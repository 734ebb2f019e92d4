"""A minute of 200 checks at one time, over nodes of which one hangs, one refuses and one is slow.

Baseline, in the same run: the same gateway, load and machine with nothing but the node that works. Nodes,
PostgreSQL and those who ask run on the same cores, so rate and latency are theirs too; CPU is that of the
gateway's process alone. Every other check is about somebody new, whom no node knows.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.machine import heading
from gateway.demo.processes import MissingPeer
from tests.e2e.enduring import NODES, Endured, endure, gateway

SECONDS, BASE_SECONDS = 60.0, 10.0


def main() -> None:
    heading("endurance: 200 checks at one time", "python -m bench.bench_endurance")
    try:
        base = run(("prompt",), BASE_SECONDS)
        found = run(NODES, SECONDS)
    except MissingPeer as missing:
        sys.exit(f"  skipped: {missing}")
    tell("one node, which works", base)
    tell("four nodes: one hangs, one refuses, one is slow", found)
    print(f"  CPU a check: {_cpu_ms(found) / _cpu_ms(base):.2f} x that with one node that works")
    for (node, state, fault), count in sorted(found.states.items()):
        print(f"    {node:<9} {state:<11} {f'fault: {fault}' if fault else '':<15} {count:>7}")
    print(f"  answers that said what was not so: {len(found.lies)}; status {dict(found.statuses)}")
    memory = found.memory_mb
    at = " ".join(f"{memory[part * (len(memory) - 1) // 6]:.0f}" for part in range(7))
    print(f"  memory every 10 s, MB: {at}; last quarter over the second: {found.growth_mb:+.1f} MB")


def run(nodes: tuple[str, ...], seconds: float) -> Endured:
    """One gateway over these nodes."""
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder), nodes) as (url, process):
        return endure(url, process, seconds, nodes=nodes)


def tell(title: str, found: Endured) -> None:
    """Print how many checks, at which cost, how soon."""
    took = sorted(found.seconds)
    p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
    rate = found.answers / sum(took) * 200
    told = f"{rate:.0f} checks/s, CPU {_cpu_ms(found):.2f} ms each, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    print(f"  {title}: {told}")


def _cpu_ms(found: Endured) -> float:
    return found.cpu_s / found.answers * 1000


if __name__ == "__main__":
    main()
