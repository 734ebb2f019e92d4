"""Checks over REST: the answer's shape, the same id again, and who may read it."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest

from adapters.sealing import blind
from gateway.demo.people import BY_KEY
from gateway.keyring import open_keys
from gateway.marks.index import recognition_id
from gateway.model import CheckAnswer
from gateway.persons.pseudonyms import Persons
from security.identity import identifier
from tests.gateway.live import NODE, OWN, PATIENT, STRANGER, Live, ask, body


def test_an_answer_carries_verdict_reason_node_catalogue_mark_and_ledger(his: httpx.Client) -> None:
    answer = ask(his, body())
    (verdict,) = answer.verdicts
    assert (verdict.verdict, verdict.reasons[0].rule) == ("recognised", "R0.1")
    assert verdict.reasons[0].zh
    assert verdict.reasons[0].en
    assert verdict.result.institution.code == OWN
    assert (verdict.result.value, verdict.result.unit) == ("40.8", "g/L")
    assert verdict.mark is not None
    assert (verdict.mark.state, verdict.mark.printed) == ("valid", "川渝HR")
    assert verdict.mark.signed.startswith("XR1:")
    (node,) = answer.nodes
    assert (node.node, node.state, answer.complete) == (NODE, "answered", True)
    assert answer.catalogue.illustrative
    assert answer.ledger.index >= 0


def test_the_ledger_index_of_an_answer_is_that_of_its_entry(gateway: Live, his: httpx.Client) -> None:
    answer = ask(his, body())
    bundle = his.get("/ledger/checkpoint").text.splitlines()
    size = int(bundle[1])
    proof = his.get("/ledger/proof", params={"index": answer.ledger.index, "size": size})
    assert proof.status_code == 200
    assert answer.ledger.index < size
    assert answer.ledger.origin == bundle[0] == "cq.lianren.example/exchange"


def test_advice_says_what_is_served_and_what_is_left_to_order(his: httpx.Client) -> None:
    answer = ask(his, body("白蛋白", "前白蛋白"))
    assert [(len(a.served), len(a.to_order)) for a in answer.advice] == [(1, 0), (0, 1)]


def test_a_person_whom_no_node_knows_has_an_empty_answer_that_is_complete(his: httpx.Client) -> None:
    answer = ask(his, body(patient=STRANGER))
    assert (answer.verdicts, answer.complete, [n.state for n in answer.nodes]) == ((), True, ["empty"])


def test_a_name_that_is_on_no_list_is_said_and_nothing_is_searched_for_it(
    gateway: Live, his: httpx.Client
) -> None:
    asked_before = gateway.kept()[2]
    answer = ask(his, body("某院特需套餐乙"))
    (unnamed,) = answer.unnamed
    assert (unnamed.name, unnamed.reason) == ("某院特需套餐乙", "unknown")
    assert unnamed.review
    assert unnamed.zh
    assert unnamed.en
    assert gateway.kept()[2] == asked_before


def test_the_same_request_id_gives_the_same_answer_byte_for_byte(his: httpx.Client) -> None:
    asked = body()
    first, second = (his.post("/api/v1/checks", json=asked) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.content == second.content


def test_the_same_request_id_is_kept_once(gateway: Live, his: httpx.Client) -> None:
    asked = body()
    ask(his, asked)
    kept = gateway.kept()
    ask(his, asked)
    assert gateway.kept() == kept


def test_one_request_id_asked_ten_times_at_once_has_one_answer(gateway: Live, his: httpx.Client) -> None:
    asked, documents = body(), gateway.kept()[1]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: his.post("/api/v1/checks", json=asked).content, range(10)))
    assert len(set(answers)) == 1
    assert gateway.kept()[1] - documents <= 3  # check, case, and the mark where it is the first of its result


def test_the_same_request_id_with_another_body_is_a_conflict(gateway: Live, his: httpx.Client) -> None:
    asked = body()
    ask(his, asked)
    kept = gateway.kept()
    refused = his.post("/api/v1/checks", json=asked | {"planned": [{"name": "总蛋白"}]})
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["field"]) == (
        409,
        "request-id-reused",
        "request_id",
    )
    assert gateway.kept() == kept


def test_two_hospitals_may_use_one_request_id(gateway: Live, his: httpx.Client) -> None:
    asked = body()
    assert ask(his, asked).id != ask(gateway.client("other"), asked).id


def test_every_id_that_was_returned_is_known(his: httpx.Client) -> None:
    for patient in (PATIENT, BY_KEY["geng"].number):
        given = his.post("/api/v1/checks", json=body(patient=patient))
        again = his.get(f"/api/v1/checks/{given.json()['id']}")
        assert (again.status_code, again.content) == (200, given.content)


def test_an_answer_of_another_institution_is_not_found(gateway: Live, his: httpx.Client) -> None:
    answer = ask(his, body())
    refused = gateway.client("other").get(f"/api/v1/checks/{answer.id}")
    never = gateway.client("other").get(f"/api/v1/checks/{'0' * 32}")
    assert (refused.status_code, refused.json()["code"]) == (404, "not-found")
    assert never.json()["detail"].replace("0" * 32, answer.id) == refused.json()["detail"]


def test_an_auditor_may_read_every_answer(gateway: Live, his: httpx.Client) -> None:
    answer = ask(his, body())
    read = gateway.client("auditor").get(f"/api/v1/checks/{answer.id}")
    assert msgspec.json.decode(read.content, type=CheckAnswer) == answer


def test_a_mark_is_issued_once_and_used_again(his: httpx.Client) -> None:
    first, second = (ask(his, body()).verdicts[0].mark for _ in range(2))
    assert first is not None
    assert first == second


def test_an_answer_is_kept_by_no_cache(his: httpx.Client) -> None:
    assert his.post("/api/v1/checks", json=body()).headers["cache-control"] == "no-store"


def test_a_time_zone_makes_no_other_question(his: httpx.Client) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    there = ask(his, body(asked_at=now.isoformat()))
    here = ask(his, body(asked_at=(now + timedelta(hours=8)).isoformat().replace("+00:00", "+08:00")))
    assert there.asked_at == here.asked_at


@pytest.mark.parametrize(
    ("context", "rule"),
    [({"emergency": True}, "N4"), ({"forensic": True}, "N5"), ({"pre_transfusion": True}, "N3b")],
)
def test_the_negative_list_looks_at_the_patient(
    his: httpx.Client, context: dict[str, bool], rule: str
) -> None:
    (verdict,) = ask(his, body(context=context)).verdicts
    assert verdict.verdict != "recognised"
    assert verdict.reasons[0].rule == rule


def test_an_event_since_the_examination_is_looked_at(his: httpx.Client) -> None:
    today = datetime.now(UTC).isoformat()
    (verdict,) = ask(his, body(context={"events": [{"kind": "transfusion", "at": today}]})).verdicts
    assert "N7b" in [reason.rule for reason in verdict.reasons]


@pytest.mark.parametrize("at", ["2199-01-01T00:00:00+08:00", "0001-01-01T00:00:00+14:00"])
def test_an_event_of_a_time_that_cannot_be_is_refused(gateway: Live, his: httpx.Client, at: str) -> None:
    before = gateway.kept()
    refused = his.post("/api/v1/checks", json=body(context={"events": [{"kind": "operation", "at": at}]}))
    assert (refused.status_code, refused.json()["field"]) == (422, "context.events[0].at")
    assert gateway.kept() == before


def test_advice_is_said_in_a_sentence(his: httpx.Client) -> None:
    single, panel, none = ask(his, body("白蛋白", "肝功能12项", "前白蛋白")).advice
    assert (single.zh, single.en) == ("已有可互认的结果，不必再开", "already recognised: nothing to order")
    assert panel.zh.startswith("12项中1项可互认，仅需开具：")
    assert panel.en.startswith("1 of 12 recognised: order ")
    assert "ALT, AST" in panel.en
    assert (none.zh, none.en) == ("未找到可互认的结果，须开具", "nothing recognised: order it")


def test_a_name_that_holds_several_examinations_is_one_plan_of_several_items(his: httpx.Client) -> None:
    answer = ask(his, body() | {"planned": [{"name": "胸部CT平扫、上腹部CT平扫"}]})
    assert answer.unnamed == ()
    (advice,) = answer.advice
    assert {item.name for item in advice.to_order} == {"CT 胸部平扫", "CT 上腹部平扫"}


def test_the_best_result_is_named_for_each_item_that_is_served(his: httpx.Client) -> None:
    answer = ask(his, body())
    (best,) = answer.advice[0].best
    assert (best.result, best.others) == (answer.verdicts[0].result.id, 0)
    assert best.item == answer.verdicts[0].serves


def test_what_is_kept_of_a_check_lies_by_the_person(gateway: Live, his: httpx.Client) -> None:
    answer = ask(his, body())
    sent = {"result": answer.verdicts[0].result.id, "outcome": "accepted"}
    outcome = his.post(f"/api/v1/checks/{answer.id}/outcomes", json=sent).json()
    mark = answer.verdicts[0].mark
    assert mark is not None
    ids = (answer.id, recognition_id(mark.id, answer.id), outcome["id"])
    with closing(sqlite3.connect(gateway.store)) as connection:
        rows = connection.execute("SELECT kind, person FROM document WHERE id IN (?, ?, ?)", ids).fetchall()
    persons = Persons(open_keys(gateway.settings), 100)
    whom = asyncio.run(persons.pseudonyms(identifier("resident-id", PATIENT), gateway.settings.owner))
    assert sorted(rows) == [
        (kind, blind(whom.current)) for kind in ("case", "check", "outcome", "recognised")
    ]


def test_a_refused_check_is_logged_under_its_route(gateway: Live, his: httpx.Client) -> None:
    refused = his.post("/api/v1/checks", content=b"{", headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad-body")
    assert gateway.events("request_refused")[-1]["route"] == "/api/v1/checks"


def test_checks_are_asked_by_post_alone(his: httpx.Client) -> None:
    refused = his.get("/api/v1/checks")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
