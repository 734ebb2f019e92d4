"""The catalogue in memory: loading and compiling (bar 300 ms), and the look-ups of a decision (bar 10 µs)."""

from __future__ import annotations

from collections.abc import Callable

from bench.machine import cpu_us, heading
from catalog import Catalogue, load


def main() -> None:
    """Measure and print."""
    heading("catalogue", "make bench")
    held = load()
    loading = cpu_us(_compiled, repeat=5, number=3) / 1000
    print(f"  {len(held.items)} items, {len(held.rules)} rules, {len(held.qualifications)} qualifications")
    print(f"  read, checked and compiled with every index: {loading:.1f} ms CPU, bar 300 ms")
    item = held.item("CT-013")
    look_ups: dict[str, Callable[[], object]] = {
        "code": lambda: held.item("1100104A"),
        "name": lambda: held.items_named("胸部CT平扫"),
        "concept": lambda: held.item_for("CT|胸部|-|plain|-"),
        "window": lambda: held.window(item, "cy-imaging", "outpatient"),
        "qualifications": lambda: held.qualifications_of("EX-CQ-01", item),
        "conditions": lambda: held.conditions_for(8, item, "510100", "EX-SC-01"),
    }
    for name, look_up in look_ups.items():
        look_up()
        print(f"  look-up by {name}: {cpu_us(look_up, number=2000):.2f} µs CPU, bar 10 µs")


def _compiled() -> Catalogue:
    """A catalogue whose indexes are all built, as the first decisions build them."""
    held = load()
    held.item_for("-")
    held.items_named("-")
    for item in held.items.values():
        held.lists_for(item, "510100")
        held.window(item, item.lists[0], "outpatient")
        held.conditions_for(8, item, "510100", "EX-SC-01")
        held.qualifications_of("EX-CQ-01", item)
        held.serves(item.code)
    return held


if __name__ == "__main__":
    main()
