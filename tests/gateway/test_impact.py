"""What a draft would change: counted by item and reason, orders and undecidable checks apart."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

from adapters import SqliteStore
from catalog import BUNDLED, Catalogue
from gateway.cases import case_document
from gateway.commands.impact import print_impact
from gateway.ids import new_id
from gateway.impact import Gone, Impact, impact
from recognition import Check, Result, decide
from tests.gateway.live import Live, ask, body
from tests.gateway.publishing import config_of, lianren
from tests.gateway.test_cases import version, windows_of
from tests.recognition.cases import ALBUMIN, NOW, POTASSIUM, catalogue, check, lab

WEEK = timedelta(days=7)
Case = tuple[Check, tuple[Result, ...]]
ALBUMIN_CASE: Case = (check(ALBUMIN), (lab(days_ago=5),))


def measured(
    folder: Path, asked: Sequence[Case], under: Catalogue, told: list[tuple[int, float]] | None = None
) -> Impact:
    """What a catalogue would change in these cases; ``told`` gets the progress."""
    told = [] if told is None else told

    async def run() -> Impact:
        store = SqliteStore(folder / "store")
        await store.open()
        for one, results in asked:
            decision = decide(one, results, catalogue())
            await store.commit((), [case_document(new_id(one.at), one, results, decision, one.at)])
        found = await impact(
            store, under, NOW - WEEK, NOW + WEEK, lambda done, share: told.append((done, share))
        )
        await store.close()
        return found

    return asyncio.run(run())


def test_the_version_in_force_changes_nothing(tmp_path: Path) -> None:
    found = measured(tmp_path, [ALBUMIN_CASE] * 3, catalogue())
    assert (found.checks, found.changed, found.orders_changed, found.shifts) == (3, 0, 0, ())


def test_a_shorter_window_is_counted_by_item_and_reason(tmp_path: Path) -> None:
    found = measured(tmp_path, [ALBUMIN_CASE] * 3, windows_of(3))
    (shift,) = found.shifts
    assert (shift.item, shift.name, shift.verdicts) == (ALBUMIN, catalogue().item(ALBUMIN).name, 3)
    assert (shift.before, shift.rule_before) == ("recognised", "R0.1")
    assert (shift.after, shift.rule) == ("not_recognised", "R7.1")
    assert (found.changed, found.orders_changed, found.more_to_order, found.less_to_order) == (3, 3, 3, 0)


def test_a_longer_window_leaves_less_to_order(tmp_path: Path) -> None:
    found = measured(tmp_path, [(check(ALBUMIN), (lab(days_ago=90),))], windows_of(400))
    assert (found.orders_changed, found.more_to_order, found.less_to_order) == (1, 0, 1)
    assert found.shifts[0].after == "recognised"


def test_another_main_reason_is_a_change_and_no_change_of_orders(tmp_path: Path) -> None:
    late = (check(ALBUMIN), (lab(days_ago=90),))
    found = measured(tmp_path, [late], version("none", qualifications=()))
    (shift,) = found.shifts
    assert (shift.before, shift.rule_before) == ("not_recognised", "R7.1")
    assert (shift.after, shift.rule) == ("not_recognised", "R5.1")
    assert (found.changed, found.orders_changed) == (1, 0)


def test_an_item_that_is_gone_is_counted_apart(tmp_path: Path) -> None:
    items = {code: item for code, item in catalogue().items.items() if code != POTASSIUM}
    asked = [ALBUMIN_CASE, (check(POTASSIUM), (lab(POTASSIUM, days_ago=1),))]
    found = measured(tmp_path, asked, version("less", items=items))
    assert found.undecidable == (Gone("item", POTASSIUM, 1),)
    assert (found.checks, found.changed) == (1, 0)


def test_cases_outside_the_period_do_not_count(tmp_path: Path) -> None:
    early = replace(ALBUMIN_CASE[0], at=NOW - 2 * WEEK)
    assert measured(tmp_path, [ALBUMIN_CASE, (early, ())], catalogue()).checks == 1


def test_progress_ends_at_the_whole_period(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    measured(tmp_path, [ALBUMIN_CASE] * 501, catalogue(), told)
    assert [done for done, _ in told] == [500, 501]
    assert told[0][1] == pytest.approx(0.5)
    assert told[-1][1] == 1.0


def test_an_impact_is_shown_by_item_with_what_it_was_and_would_be(tmp_path: Path) -> None:
    out = io.StringIO()
    found = measured(tmp_path, [ALBUMIN_CASE], windows_of(3))
    print_impact(Console(file=out, width=160), found)
    (row,) = [line for line in out.getvalue().splitlines() if ALBUMIN in line]
    assert "✓ 可互认 recognised R0.1" in row
    assert "✗ 不予互认 not recognised R7.1" in row


def test_a_draft_is_measured_on_the_decisions_of_a_running_gateway(gateway: Live, tmp_path: Path) -> None:
    answer = ask(gateway.client(), body())
    draft = shutil.copytree(BUNDLED / "cy-lab", tmp_path / "draft")
    for name, old, new in (
        ("catalogue.toml", "2026.11-illustrative", "2027.01-trial"),
        ("windows.csv", f"{ALBUMIN},30,", f"{ALBUMIN},1,"),
    ):
        file = draft / name
        file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    words = ["--dry-run", "--at-once", "--impact-days", "1", "--json"]
    done = lianren("catalog", "publish", draft, "-c", config_of(gateway, tmp_path / "config"), *words)
    (found,) = msgspec.convert(json.loads(done.out)["impact"], list[Impact])
    assert "cy-lab@2027.01-trial" in found.catalogue
    assert found.more_to_order >= 1
    assert answer.verdicts[0].item is not None
    assert {shift.item for shift in found.shifts} == {answer.verdicts[0].item.code}
