"""Reminders: what a patient has, at reception and at the order, and what the doctor said of it until now."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from catalog import load
from gateway.checks import begin
from gateway.demo.people import BY_KEY
from gateway.history import ReminderOut, reminder_of
from gateway.naming import planned_of
from gateway.outcomes import Kept
from recognition import Reading, Result
from recognition.window import SHANGHAI
from tests.gateway.live import PATIENT, STRANGER, Live, ask, body

SEVERAL, UNREAD, NEVER_MARKED = (BY_KEY[key].number for key in ("jia", "yin", "geng"))
"""With three recognised values and a CT whose images nobody can count; with one odd name; with no mark."""
CATALOGUE = load()
FIRST, LAST = datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2200-01-01")
ALBUMIN, CT = "1100104A", "CT-013"
WHITE_CELLS, PLATELETS, HAEMOGLOBIN = "0100101A", "0100301A", "0100401A"


def reminder(his: httpx.Client, patient: str = SEVERAL, **fields: Any) -> httpx.Response:
    asked: dict[str, Any] = {
        "request_id": uuid.uuid4().hex,
        "patient": {"type": "resident-id", "value": patient},
        "moment": "reception",
    }
    return his.post("/api/v1/reminders", json=asked | fields)


def remind(his: httpx.Client, patient: str = SEVERAL, **fields: Any) -> ReminderOut:
    response = reminder(his, patient, **fields)
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=ReminderOut)


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["field"]


def test_at_reception_every_result_is_judged_for_its_own_item(his: httpx.Client) -> None:
    said = remind(his)
    assert {item.item.code: item.verdict for item in said.items if item.item} == {
        WHITE_CELLS: "recognised",
        PLATELETS: "recognised",
        HAEMOGLOBIN: "recognised",
        CT: "view_only",
    }


def test_at_reception_recognised_results_come_first(his: httpx.Client) -> None:
    assert [item.verdict for item in remind(his).items] == ["recognised"] * 3 + ["view_only"]


def test_a_reminder_says_in_a_sentence_what_there_is(his: httpx.Client) -> None:
    said = remind(his)
    assert said.zh == "近期有4份检查检验结果，3份可互认，其中3份未处理"
    assert said.en == "recent results: 4, recognised: 3, open of these: 3"


def test_a_person_without_results_has_a_reminder_that_says_so(his: httpx.Client) -> None:
    said = remind(his, STRANGER)
    assert (said.items, said.complete, said.zh) == ((), True, "未找到近期检查检验结果")


def test_a_result_whose_name_is_on_no_list_is_not_passed_over(his: httpx.Client) -> None:
    said = remind(his, UNREAD)
    assert said.unnamed == ("胸部特需套餐B",)
    assert said.zh == "未找到近期检查检验结果；1个名称未能对应到互认目录"


def test_a_result_of_the_own_hospital_is_told_from_others(his: httpx.Client, gateway: Live) -> None:
    assert {item.own for item in remind(his).items} == {True}
    assert {item.own for item in remind(gateway.client("other")).items} == {False}


def test_a_result_that_ends_its_window_today_is_in_reach_of_thirty_days(his: httpx.Client) -> None:
    (item,) = remind(his, PATIENT).items
    assert (item.age_days, item.verdict) == (30, "recognised")


def test_what_is_older_than_asked_for_is_left_out(his: httpx.Client) -> None:
    assert remind(his, PATIENT, look_back_days=29).items == ()


def test_a_reminder_is_a_check_with_the_same_verdicts(his: httpx.Client) -> None:
    said = remind(his, PATIENT)
    check = his.get(f"/api/v1/checks/{said.id}").json()
    assert (check["moment"], check["verdicts"][0]["verdict"]) == ("reception", "recognised")
    assert check["advice"][0]["zh"] == "已有可互认的结果，不必再开"
    assert said.ledger.index >= 0


def test_a_reminder_is_explained_like_a_check(his: httpx.Client) -> None:
    explained = his.post("/api/v1/explain", json={"id": remind(his).id})
    assert explained.json()["stored"]["identical"] is True


def test_the_same_request_id_is_one_check(gateway: Live, his: httpx.Client) -> None:
    first = remind(his, request_id="same-reminder")
    kept = gateway.kept()
    assert remind(his, request_id="same-reminder") == first
    assert gateway.kept() == kept


def test_the_same_request_id_for_another_moment_is_a_conflict(his: httpx.Client) -> None:
    asked = body(patient=SEVERAL)
    ask(his, asked)
    response = reminder(his, request_id=asked["request_id"])
    assert refused(response) == (409, "request_id")


def test_at_the_order_a_reminder_is_the_check_of_what_is_planned(his: httpx.Client) -> None:
    planned = [{"name": "白细胞计数", "kind": "lab"}, {"name": "白蛋白", "kind": "lab"}]
    said = remind(his, moment="order", planned=planned)
    assert said.zh == "白细胞计数：已有可互认的结果，不必再开；白蛋白：未找到可互认的结果，须开具"
    assert [item.local_name for item in said.items] == ["白细胞计数"]


def test_at_the_order_a_name_that_cannot_be_read_is_said(his: httpx.Client) -> None:
    said = remind(his, moment="order", planned=[{"name": "某院特需套餐乙"}])
    assert said.zh.startswith("某院特需套餐乙：")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"moment": "order"}, "planned"),
        ({"moment": "order", "planned": [{"name": "白蛋白"}], "look_back_days": 30}, "look_back_days"),
        ({"planned": [{"name": "白蛋白"}]}, "planned"),
        ({"look_back_days": 181}, "look_back_days"),
        ({"look_back_days": 0}, "look_back_days"),
        ({"moment": "discharge"}, "moment"),
        ({"patient": {"type": "resident-id", "value": "123"}}, "patient.value"),
    ],
)
def test_a_reminder_that_does_not_fit_its_moment_is_refused(
    gateway: Live, his: httpx.Client, fields: dict[str, Any], field: str
) -> None:
    kept = gateway.kept()
    assert refused(reminder(his, **fields)) == (422, field)
    assert gateway.kept() == kept


def test_a_status_follows_what_the_doctor_says(his: httpx.Client) -> None:
    said = remind(his)
    result = said.items[0].result
    seen = []
    for fields in (
        {"outcome": "viewed"},
        {"outcome": "accepted"},
        {"outcome": "declined", "system": "platform-A", "code": "01"},
        {"outcome": "withdrawn"},
        {"outcome": "accepted"},
    ):
        sent = his.post(f"/api/v1/checks/{said.id}/outcomes", json={"result": result} | fields)
        assert sent.status_code == 200, sent.text
        again = msgspec.json.decode(his.get(f"/api/v1/reminders/{said.id}").content, type=ReminderOut)
        seen.append((again.items[0].status, again.items[0].status_zh, again.open))
    assert seen == [(2, "未处理", 3), (1, "已互认", 2), (0, "不互认", 2), (2, "未处理", 3), (1, "已互认", 2)]


def test_a_reminder_asked_again_has_the_statuses_of_now(his: httpx.Client) -> None:
    said = remind(his, request_id="asked-twice")
    result = said.items[0].result
    his.post(f"/api/v1/checks/{said.id}/outcomes", json={"result": result, "outcome": "accepted"})
    assert [item.status for item in remind(his, request_id="asked-twice").items] == [1, 2, 2, 2]


def test_a_reminder_of_another_institution_is_not_found(gateway: Live, his: httpx.Client) -> None:
    read = gateway.client("other").get(f"/api/v1/reminders/{remind(his).id}")
    assert (read.status_code, read.json()["code"]) == (404, "not-found")


def test_an_auditor_reads_a_reminder_and_asks_none(gateway: Live, his: httpx.Client) -> None:
    said = remind(his)
    auditor = gateway.client("auditor")
    assert auditor.get(f"/api/v1/reminders/{said.id}").status_code == 200
    assert reminder(auditor).status_code == 403


def test_a_patient_who_objects_is_not_looked_up_at_reception(gateway: Live, his: httpx.Client) -> None:
    person = {"type": "resident-id", "value": NEVER_MARKED}
    said = his.post("/api/v1/consents", json={"patient": person, "decision": "deny"}).json()
    asked = gateway.kept()[2]
    denied = remind(his, NEVER_MARKED)
    his.post(f"/api/v1/consents/{said['id']}/revocation", json={"patient": person})
    assert (denied.consent.permitted, denied.items, gateway.kept()[2]) == (False, (), asked)
    assert denied.zh == "患者未授权，未作查询"


def test_an_emergency_goes_on_at_reception(gateway: Live, his: httpx.Client) -> None:
    person = {"type": "resident-id", "value": NEVER_MARKED}
    said = his.post("/api/v1/consents", json={"patient": person, "decision": "deny"}).json()
    shown = remind(his, NEVER_MARKED, break_glass={"reason": "昏迷，急诊抢救"})
    his.post(f"/api/v1/consents/{said['id']}/revocation", json={"patient": person})
    assert (shown.consent.basis, len(shown.items)) == ("break_glass", 1)


def test_a_reminder_is_kept_by_no_cache_and_logs_no_person(gateway: Live, his: httpx.Client) -> None:
    assert reminder(his).headers["cache-control"] == "no-store"
    assert SEVERAL not in gateway.log.getvalue()


def test_the_very_same_result_of_two_nodes_is_one_in_the_box(his: httpx.Client) -> None:
    answer = ask(his, body("白细胞计数", patient=SEVERAL))
    (verdict,) = answer.verdicts
    there = structs.replace(verdict.result, id="n2/Observation/1", node="n2")
    twin = structs.replace(verdict, verdict="view_only", result=there, also=(verdict.result.id,))
    twins = (structs.replace(verdict, also=(there.id,)), twin)
    stand = Kept(
        id="1",
        check=answer.id,
        result=there.id,
        outcome="accepted",
        at=answer.answered_at,
        ledger=answer.ledger,
    )
    (item,) = reminder_of(structs.replace(answer, verdicts=twins), {there.id: stand}).items
    assert (item.result, item.also, item.verdict, item.status) == (
        verdict.result.id,
        (there.id,),
        "recognised",
        1,
    )


@given(st.datetimes(FIRST, LAST), st.integers(1, 3660))
def test_looking_back_begins_at_midnight_in_shanghai(naive: datetime, days: int) -> None:
    now = naive.replace(tzinfo=UTC)
    since = begin(now, days).astimezone(SHANGHAI)
    assert (since.hour, since.minute, since.second, since.microsecond) == (0, 0, 0, 0)
    assert timedelta(days=days) <= now - since < timedelta(days=days + 1)


def result(number: int, item: str | None, *, strong: bool = True, at: datetime | None = None) -> Result:
    reading = Reading(item, None, "" if item else "unknown")
    return Result(
        id=str(number),
        node="n",
        kind="imaging" if item == CT else "lab",
        institution="EX-CQ-01",
        local_name=f"名称{number}",
        reading=reading,
        identity="strong" if strong else "weak",
        status="final",
        performed=at,
        reported=None,
        version_key=str(number),
    )


moments = st.none() | st.datetimes(FIRST, LAST, timezones=st.just(UTC))
results = st.lists(
    st.builds(
        result,
        st.integers(0, 99),
        st.sampled_from([ALBUMIN, CT, WHITE_CELLS, None]),
        strong=st.booleans(),
        at=moments,
    )
)


@given(results, st.randoms())
def test_what_is_planned_at_reception_does_not_depend_on_the_order_of_the_nodes(
    found: list[Result], chance: Any
) -> None:
    shuffled = chance.sample(found, len(found))
    assert planned_of(shuffled, CATALOGUE)[0] == planned_of(found, CATALOGUE)[0]


@given(results)
def test_every_result_that_is_surely_the_persons_is_planned_or_named(found: list[Result]) -> None:
    planned, unnamed = planned_of(found, CATALOGUE)
    sure = [one for one in found if one.identity == "strong"]
    assert {code for one in planned for code in one.items} == {
        one.reading.item for one in sure if one.reading.item
    }
    assert {one.name for one in unnamed} == {one.local_name for one in sure if not one.reading.item}
