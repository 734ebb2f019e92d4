"""Consent: what a person said decides before any node is asked; an emergency goes on, and is seen."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters import Store
from adapters.sqlite import SqliteStore
from gateway.cases import cases
from gateway.demo.people import BY_KEY
from gateway.keyring import open_keys
from gateway.persons.consent import ConsentRecord, Consents, Decision, document_of
from gateway.settings import PurposeOfUse
from security.ledger import Entry, read_entry
from security.pseudonym import Pseudonyms
from tests.gateway.live import (
    NODE,
    OTHER,
    OWN,
    PATIENT,
    STRANGER,
    Live,
    ask,
    audit,
    body,
    gateway_over_source,
    gateway_with,
    persons_in,
    reading,
    source_of,
    started,
)

ALL: tuple[PurposeOfUse, ...] = get_args(PurposeOfUse)
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
EMERGENCY = {"reason": "昏迷，急诊抢救"}
Say = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway of its own: what a person says here binds no other test."""
    with gateway_over_source(tmp_path_factory.mktemp("consent")) as live:
        yield live


@pytest.fixture
def his(live: Live) -> httpx.Client:
    return live.client()


@pytest.fixture
def say(his: httpx.Client) -> Iterator[Say]:
    """Take down what the patient says; when the test is over it is revoked."""
    said: list[str] = []

    def record(decision: str = "deny", **more: Any) -> dict[str, Any]:
        patient = {"type": "resident-id", "value": PATIENT}
        answer = his.post("/api/v1/consents", json={"patient": patient, "decision": decision} | more)
        assert answer.status_code == 200, answer.text
        said.append(answer.json()["id"])
        return dict(answer.json())

    yield record
    for id_ in said:
        assert revoke(his, id_).status_code == 200


def revoke(client: httpx.Client, id_: str, patient: str = PATIENT) -> httpx.Response:
    asked = {"patient": {"type": "resident-id", "value": patient}}
    return client.post(f"/api/v1/consents/{id_}/revocation", json=asked)


def entries(live: Live, after: int) -> list[tuple[Entry, dict[str, Any]]]:
    """Entries from an index on, with their payloads as a command reads them."""
    with closing(sqlite3.connect(live.store)) as connection:
        rows = connection.execute("SELECT entry_id, body FROM entry WHERE idx >= ? ORDER BY idx", (after,))
        found = [(id_, read_entry(raw)) for id_, raw in rows]

    async def payloads(store: Store) -> list[tuple[Entry, dict[str, Any]]]:
        opened = []
        for id_, entry in found:
            secret = await store.secret(id_)
            told = secret is not None and secret.payload.startswith(b"{")  # a mark is not JSON
            opened.append((entry, msgspec.json.decode(secret.payload) if secret and told else {}))
        return opened

    return reading(live, payloads)


def metric(live: Live, name: str) -> float:
    lines = live.client().get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


# What a statement says


def record(decision: Decision, purposes: tuple[PurposeOfUse, ...] = (), **more: Any) -> ConsentRecord:
    return ConsentRecord(
        id="1",
        decision=decision,
        purposes=purposes,
        recorded=NOW,
        institution=OWN,
        entry="",
        **more,
    )


@given(purposes=st.sets(st.sampled_from(ALL)), purpose=st.sampled_from(ALL))
def test_of_two_opposite_statements_exactly_one_permits(
    purposes: set[PurposeOfUse], purpose: PurposeOfUse
) -> None:
    named = tuple(sorted(purposes))
    assert record("permit", named).permits(purpose) != record("deny", named).permits(purpose)


@given(purposes=st.sets(st.sampled_from(ALL), min_size=1), purpose=st.sampled_from(ALL))
def test_authorised_purposes_are_those_that_are_named(
    purposes: set[PurposeOfUse], purpose: PurposeOfUse
) -> None:
    assert record("permit", tuple(sorted(purposes))).permits(purpose) == (purpose in purposes)


@pytest.mark.parametrize(
    ("decision", "purposes", "directive"),
    [
        ("permit", (), "OPTIN"),
        ("permit", ("TREAT",), "OPTOUTE"),
        ("deny", (), "OPTOUT"),
        ("deny", ("TREAT",), "OPTINR"),
    ],
)
def test_a_statement_has_the_directive_of_hl7(
    decision: Decision, purposes: tuple[PurposeOfUse, ...], directive: str
) -> None:
    assert record(decision, purposes).directive == directive


def test_a_statement_concerns_its_receivers_from_its_start_to_before_its_end() -> None:
    one = record("deny", receivers=(OWN,), start=NOW, end=NOW + timedelta(days=1))
    assert one.concerns(OWN, NOW)
    assert not one.concerns(OTHER, NOW)
    assert not one.concerns(OWN, NOW - timedelta(seconds=1))
    assert not one.concerns(OWN, NOW + timedelta(days=1))


Said = tuple[Decision, frozenset[PurposeOfUse], bool, bool]
"""Decision, purposes, whether it is about this hospital alone, and whether it was revoked."""
SAID = st.lists(
    st.tuples(
        st.sampled_from(get_args(Decision)), st.frozensets(st.sampled_from(ALL)), st.booleans(), st.booleans()
    ),
    max_size=6,
)


async def kept(store: Store, said: list[Said], pseudonym: str) -> None:
    """Keep statements in their order, each with its revocation where it has one."""
    documents = []
    for number, (decision, purposes, here, revoked) in enumerate(said):
        one = replace(
            record(decision, tuple(sorted(purposes)), receivers=(OWN,) if here else ()),
            id=f"{pseudonym[-1]}{number:06d}",
        )
        documents.append(document_of(one, pseudonym))
        if revoked:
            documents.append(document_of(replace(one, id=f"{one.id}r", revokes=one.id), pseudonym))
    await store.commit([], documents)


@settings(max_examples=40, deadline=None)
@given(said=SAID, purpose=st.sampled_from(ALL), receiver=st.sampled_from([OWN, OTHER]))
def test_the_newest_statement_that_stands_and_concerns_the_receiver_decides(
    said: list[Said], purpose: PurposeOfUse, receiver: str
) -> None:
    standing = [
        (decision, purposes)
        for decision, purposes, here, revoked in said
        if not revoked and (receiver == OWN or not here)
    ]
    expected = True
    if standing and purpose != "BTG":
        decision, purposes = standing[-1]
        expected = (not purposes or purpose in purposes) == (decision == "permit")

    async def run() -> None:
        with TemporaryDirectory() as folder:
            store = SqliteStore(Path(folder) / "store.sqlite3")
            await store.open()
            try:
                await kept(store, said, "e.a")
                await kept(store, [("deny", frozenset(), False, False)], "e.b")  # somebody else's
                rule = await Consents(store).rule(Pseudonyms("e.a"), purpose, receiver, NOW)
            finally:
                await store.close()
        assert rule.permitted is expected
        assert rule.basis == ("break_glass" if purpose == "BTG" else "consent" if standing else "none")

    asyncio.run(run())


def test_hundreds_of_statements_of_one_person_are_all_read(tmp_path: Path) -> None:
    async def run() -> list[ConsentRecord]:
        store = SqliteStore(tmp_path / "store.sqlite3")
        await store.open()
        try:
            await kept(store, [("permit", frozenset(), False, False)] * 250, "e.a")
            await kept(store, [("deny", frozenset(), False, False)] * 2, "d.b")
            return await Consents(store).held(Pseudonyms("e.a", ("d.b",)))
        finally:
            await store.close()

    held = asyncio.run(run())
    assert (len(held), held[0].id, held[-1].id) == (252, "a000000", "b000001")


# What it does to a check


def test_where_nothing_was_said_a_check_is_answered_and_says_so(his: httpx.Client) -> None:
    consent = ask(his, body()).consent
    assert (consent.permitted, consent.basis, consent.consent) == (True, "none", "")


def test_after_an_opt_out_no_node_is_asked_and_everything_is_left_to_order(
    live: Live, his: httpx.Client, say: Say
) -> None:
    said = say("deny")
    asked_before, denials = live.kept()[2], metric(live, "lianren_consent_denials_total")
    answer = ask(his, body("白蛋白", "前白蛋白"))
    assert live.kept()[2] == asked_before
    assert (answer.verdicts, answer.complete) == ((), False)
    assert [(node.node, node.state) for node in answer.nodes] == [(NODE, "skipped")]
    assert [(len(a.served), len(a.to_order)) for a in answer.advice] == [(0, 1), (0, 1)]
    assert "未授权" in answer.advice[0].zh
    assert (answer.consent.permitted, answer.consent.basis, answer.consent.consent) == (
        False,
        "consent",
        said["id"],
    )
    assert metric(live, "lianren_consent_denials_total") == denials + 1


def test_a_denied_check_is_decided_again_as_it_was(live: Live, his: httpx.Client, say: Say) -> None:
    say("deny")
    answer = ask(his, body())
    again = his.get(f"/api/v1/checks/{answer.id}")
    assert msgspec.json.decode(again.content)["consent"]["permitted"] is False
    explained = his.post("/api/v1/explain", json={"id": answer.id})
    assert explained.json()["stored"]["identical"] is True

    async def kept(store: Store) -> list[str]:
        return [id_ async for id_, _ in cases(store, datetime(2000, 1, 1, tzinfo=UTC))]

    assert answer.id in reading(live, kept)


def test_every_spelling_and_card_of_a_number_is_bound(his: httpx.Client, say: Say) -> None:
    say("deny")
    spelled = body() | {"patient": {"type": "01", "value": PATIENT.lower()}}
    assert ask(his, spelled).consent.permitted is False


def test_the_last_word_counts(his: httpx.Client, say: Say) -> None:
    say("deny")
    say("permit")
    assert ask(his, body()).consent.permitted
    say("deny")
    assert not ask(his, body()).consent.permitted


def test_a_permit_for_one_hospital_stands_beside_an_opt_out(live: Live, his: httpx.Client, say: Say) -> None:
    say("deny")
    say("permit", receivers=[OTHER])
    assert ask(live.client("other"), body()).consent.permitted
    assert not ask(his, body()).consent.permitted


@pytest.mark.parametrize(
    ("decision", "purposes", "permitted"),
    [
        ("permit", ["TREAT", "ETREAT"], True),
        ("permit", ["PUBHLTH"], False),
        ("deny", ["PUBHLTH", "HPAYMT"], True),
        ("deny", ["TREAT"], False),
    ],
)
def test_only_authorised_purposes_are_served(
    his: httpx.Client, say: Say, decision: str, purposes: list[str], permitted: bool
) -> None:
    say(decision, purposes=purposes)
    assert ask(his, body()).consent.permitted is permitted


def test_what_begins_later_does_not_count_yet(his: httpx.Client, say: Say) -> None:
    say("deny", start=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    assert ask(his, body()).consent.basis == "none"


def test_a_revoked_statement_is_as_if_it_had_never_been(his: httpx.Client, say: Say) -> None:
    said = say("deny")
    assert revoke(his, said["id"]).json()["status"] == "inactive"
    assert ask(his, body()).consent.basis == "none"
    assert his.get(f"/api/v1/consents/{said['id']}").json()["status"] == "inactive"


def test_revoking_twice_leaves_one_entry(live: Live, his: httpx.Client, say: Say) -> None:
    said = say("deny")
    before = live.kept()[0]
    for _ in range(2):
        revoke(his, said["id"])
    assert live.kept()[0] == before + 1


def test_another_gateway_cannot_ask_as_of_before_an_objection(live: Live, say: Say) -> None:
    now = datetime.now(UTC)
    question: dict[str, object] = {
        "id": uuid.uuid4().hex,
        "person": {"type": "resident-id", "value": PATIENT},
        "kinds": ["lab"],
    }
    question |= {"since": (now - timedelta(days=90)).isoformat(), "receiver": OTHER, "budget_ms": 5000}
    question |= {"at": (now - timedelta(days=3)).isoformat(), "hops": 0}
    say("deny", start=(now - timedelta(days=1)).isoformat())
    answer = live.client("peer").post("/api/v1/results", json=question).json()
    assert (answer["results"], answer["nodes"][0]["state"]) == ([], "skipped")


def test_of_revocations_at_once_one_is_kept(live: Live, say: Say) -> None:
    said, clients = say("deny"), [live.client(name) for name in ("his", "other", "third", "ward")]
    before = live.kept()[0]
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(lambda client: revoke(client, said["id"]), clients))
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "inactive")}
    assert live.kept()[0] == before + 1


def test_the_same_request_id_keeps_its_answer_whatever_is_said_afterwards(
    his: httpx.Client, say: Say
) -> None:
    asked = body()
    first = his.post("/api/v1/checks", json=asked)
    say("deny")
    assert his.post("/api/v1/checks", json=asked).content == first.content


# An emergency


def test_an_emergency_goes_on_against_an_opt_out_and_the_answer_says_so(
    live: Live, his: httpx.Client, say: Say
) -> None:
    said, declared = say("deny"), metric(live, "lianren_break_glass_total")
    answer = ask(his, body(break_glass=EMERGENCY))
    assert [verdict.verdict for verdict in answer.verdicts] == ["recognised"]
    consent = answer.consent
    assert (consent.permitted, consent.basis, consent.consent) == (True, "break_glass", said["id"])
    assert "紧急" in consent.zh
    assert metric(live, "lianren_break_glass_total") == declared + 1


def test_an_emergency_is_an_entry_of_the_ledger_with_its_reason(
    live: Live, his: httpx.Client, say: Say
) -> None:
    said, before = say("deny"), live.kept()[0]
    answer = ask(his, body(break_glass=EMERGENCY))
    found = entries(live, before)
    question = next(entry for entry, _ in found if entry.type == "question")
    ((view, payload),) = [one for one in found if one[0].type == "view"]
    assert (view.binds, payload["purpose"], payload["reason"], payload["consent"]) == (
        question.commit,
        "BTG",
        EMERGENCY["reason"],
        said["id"],
    )
    assert payload["check"] == answer.id


def test_an_emergency_is_an_event_of_the_log_without_its_reason(live: Live, his: httpx.Client) -> None:
    answer = ask(his, body(break_glass=EMERGENCY))
    event = live.events("break_glass")[-1]
    assert (event["check"], event["client"], event["institution"]) == (answer.id, "his", OWN)
    assert EMERGENCY["reason"] not in live.log.getvalue()


def test_an_emergency_that_nobody_had_forbidden_is_recorded_all_the_same(his: httpx.Client) -> None:
    consent = ask(his, body(break_glass=EMERGENCY)).consent
    assert (consent.basis, consent.consent) == ("break_glass", "")


def test_who_has_no_purpose_of_an_emergency_may_not_declare_one(live: Live) -> None:
    before = live.kept()
    refused = live.client("ward").post("/api/v1/checks", json=body(break_glass=EMERGENCY))
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")
    assert live.kept() == before


def test_who_asks_for_emergencies_alone_says_why_each_time(live: Live, say: Say) -> None:
    say("deny")
    client, before = live.client("ambulance"), live.kept()
    refused = client.post("/api/v1/checks", json=body())
    assert (refused.status_code, refused.json()["field"]) == (422, "break_glass")
    assert live.kept() == before
    assert ask(client, body(break_glass=EMERGENCY)).consent.basis == "break_glass"


@pytest.mark.parametrize(
    "reason",
    [
        "",
        " ",
        "急",
        "\t\t\t",
        f"病人 {PATIENT}",
        "家属电话 13800000000",
        "电话１３８００００００００",
        "病人 9 9 0 0 0 0",
    ],
)
def test_a_reason_is_in_words_and_names_no_number(live: Live, his: httpx.Client, reason: str) -> None:
    before = live.kept()
    refused = his.post("/api/v1/checks", json=body(break_glass={"reason": reason}))
    assert (refused.status_code, refused.json()["field"]) == (422, "break_glass.reason")
    assert len(reason) < 4 or reason not in refused.text
    assert live.kept() == before


# Taking down and reading


def test_a_statement_is_an_entry_of_the_ledger_and_its_leaf_names_nobody(live: Live, say: Say) -> None:
    before = live.kept()[0]
    said = say("deny", purposes=["PUBHLTH"], receivers=[OTHER])
    ((entry, payload),) = entries(live, before)
    assert (entry.type, entry.commit, said["ledger"]["index"]) == ("consent", said["ledger"]["entry"], before)
    assert (payload["directive"], payload["purposes"], payload["receivers"]) == (
        "OPTINR",
        ["PUBHLTH"],
        [OTHER],
    )
    assert not any(word in msgspec.json.encode(entry).decode() for word in (payload["person"], "PUBHLTH"))


def test_a_statement_comes_back_without_the_person(his: httpx.Client, say: Say) -> None:
    said = say("permit", purposes=["TREAT"])
    read = his.get(f"/api/v1/consents/{said['id']}")
    assert read.json() == said
    assert PATIENT not in read.text
    assert (said["decision"], said["directive"], said["status"]) == ("permit", "OPTOUTE", "active")


def test_an_institution_reads_what_it_took_down_and_an_auditor_everything(live: Live, say: Say) -> None:
    path = f"/api/v1/consents/{say('deny')['id']}"
    before = live.kept()[0]
    assert live.client("auditor").get(path).status_code == 200
    assert live.client("other").get(path).json()["code"] == "not-found"
    assert live.client().get(f"/api/v1/consents/{'0' * 32}").status_code == 404
    ((entry, payload),) = entries(live, before)
    assert (entry.type, entry.to, payload["consents"]) == ("view", "auditor", [path.rpartition("/")[2]])


def test_a_person_may_take_it_back_at_another_hospital(live: Live, his: httpx.Client, say: Say) -> None:
    said = say("deny")
    assert revoke(live.client("other"), said["id"]).json()["institution"] == OWN
    assert ask(his, body()).consent.permitted


def test_nobody_takes_back_what_another_person_said(his: httpx.Client, say: Say) -> None:
    said = say("deny")
    refused = revoke(his, said["id"], STRANGER)
    assert (refused.status_code, refused.json()["code"]) == (404, "not-found")
    assert not ask(his, body()).consent.permitted


def test_a_revocation_is_no_statement_that_could_be_read_or_revoked(
    live: Live, his: httpx.Client, say: Say
) -> None:
    said, before = say("deny"), live.kept()[0]
    revoke(his, said["id"])
    ((entry, payload),) = entries(live, before)
    assert (entry.type, entry.binds, payload["revokes"]) == ("consent", said["ledger"]["entry"], said["id"])
    assert his.get(f"/api/v1/consents/{payload['consent']}").status_code == 404
    assert revoke(his, payload["consent"]).status_code == 404


def test_what_a_person_said_is_found_by_the_number_in_a_body_and_the_look_is_recorded(
    live: Live, say: Say
) -> None:
    first, second = say("deny"), say("permit", receivers=[OTHER])
    before = live.kept()[0]
    found = live.client("other").post(
        "/api/v1/consents/search", json={"patient": {"type": "resident-id", "value": PATIENT}}
    )
    assert [one["id"] for one in found.json()["consents"]] == [first["id"], second["id"]]
    ((entry, payload),) = entries(live, before)
    assert (entry.type, entry.to, payload["consents"]) == ("view", "other", [first["id"], second["id"]])


def test_who_speaks_for_no_hospital_takes_nothing_down(live: Live) -> None:
    said = {"patient": {"type": "resident-id", "value": PATIENT}, "decision": "deny"}
    for name in ("auditor", "nobody", "steward"):
        assert live.client(name).post("/api/v1/consents", json=said).status_code == 403


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"patient": {"type": "resident-id", "value": PATIENT[:17]}}, "patient.value"),
        ({"patient": {"type": "driving-licence", "value": "1"}}, "patient.type"),
        ({"decision": "maybe"}, "decision"),
        ({"purposes": ["FUN"]}, "purposes[0]"),
        ({"receivers": [OWN, "EX-NO-99"]}, "receivers[1]"),
        ({"end": "2020-01-01T00:00:00+08:00"}, "end"),
        ({"start": "2999-01-02T00:00:00+08:00", "end": "2999-01-01T00:00:00+08:00"}, "end"),
        ({"start": "2999-01-02T00:00:00"}, "start"),
        ({"comment": "x"}, "comment"),
    ],
)
def test_a_statement_that_cannot_be_is_refused_by_its_field(
    live: Live, his: httpx.Client, change: dict[str, Any], field: str
) -> None:
    before = live.kept()
    said = {"patient": {"type": "resident-id", "value": STRANGER}, "decision": "deny"} | change
    refused = his.post("/api/v1/consents", json=said)
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert live.kept() == before


def test_no_number_reaches_the_log_or_the_store_and_the_ledger_holds(
    live: Live, his: httpx.Client, say: Say, tmp_path: Path
) -> None:
    say("deny")
    ask(his, body(break_glass=EMERGENCY))
    his.post("/api/v1/consents/search", json={"patient": {"type": "resident-id", "value": PATIENT}})
    assert persons_in(live.log.getvalue()) == []
    number = BY_KEY["ding"].number.encode()
    assert not [file for file in live.store.parent.glob("lianren.sqlite3*") if number in file.read_bytes()]
    assert audit(live, tmp_path / "audit") == []


# The other faces


def order(priority: str = "routine") -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "order",
        "priority": priority,
        "subject": {"reference": "Patient/p1"},
        "code": {"text": "白蛋白"},
    }


def patient() -> dict[str, Any]:
    number = {"system": "urn:oid:2.16.156.10011.1.3", "value": PATIENT}
    return {"resourceType": "Patient", "id": "p1", "identifier": [number]}


def operation(his: httpx.Client, *more: dict[str, Any]) -> httpx.Response:
    listed = [{"name": "order", "resource": order()}, {"name": "patient", "resource": patient()}, *more]
    asked = {"resourceType": "Parameters", "parameter": listed}
    return his.post("/fhir/ServiceRequest/$check-recognition", json=asked)


def hook(his: httpx.Client, **more: Any) -> httpx.Response:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": order()}]}
    call = {
        "hook": "order-sign",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/7", "patientId": "p1", "draftOrders": bundle},
        "prefetch": {"patient": patient()},
    }
    return his.post("/cds-services/result-recognition", json=call | more)


def part_of(response: httpx.Response, name: str) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found = next(one for one in response.json()["parameter"] if one["name"] == name)
    return {one["name"]: next(v for key, v in one.items() if key != "name") for one in found["part"]}


def test_the_operation_of_fhir_says_that_consent_is_lacking(his: httpx.Client, say: Say) -> None:
    said = say("deny")
    answer = operation(his)
    told = part_of(answer, "consent")
    assert (told["permitted"], told["basis"], told["consent"]) == (False, "consent", said["id"])
    assert "verdict" not in [one["name"] for one in answer.json()["parameter"]]
    assert part_of(answer, "node")["state"] == "skipped"


def test_the_operation_of_fhir_shows_an_emergency(his: httpx.Client, say: Say) -> None:
    say("deny")
    answer = operation(his, {"name": "breakGlass", "valueString": EMERGENCY["reason"]})
    assert part_of(answer, "consent")["basis"] == "break_glass"
    assert part_of(answer, "verdict")["verdict"] == "recognised"


@pytest.mark.parametrize("value", [{"valueString": "1"}, {"valueCode": "emergency"}, {}])
def test_a_reason_that_is_none_is_refused_at_its_place_in_fhir(
    his: httpx.Client, value: dict[str, str]
) -> None:
    refused = operation(his, {"name": "breakGlass", **value})
    assert refused.status_code == 422
    assert refused.json()["issue"][0]["expression"] == ["Parameters.parameter.where(name='breakGlass')"]


def test_a_card_says_that_consent_is_lacking(his: httpx.Client, say: Say) -> None:
    say("deny")
    (card,) = hook(his).json()["cards"]
    assert "未授权" in card["summary"]
    assert (card["indicator"], "患者未授权" in card["detail"]) == ("warning", True)


def test_a_card_shows_an_emergency(his: httpx.Client, say: Say) -> None:
    say("deny")
    answer = hook(his, extension={"org.lianren.break-glass": EMERGENCY["reason"]}).json()
    (card,) = answer["cards"]
    assert (card["indicator"], "紧急调阅" in card["detail"]) == ("warning", True)
    assert answer["extension"]["org.lianren.decision"]["consent"]["basis"] == "break_glass"


def test_a_reason_that_is_none_is_refused_at_its_place_in_a_hook(his: httpx.Client) -> None:
    refused = hook(his, extension={"org.lianren.break-glass": 5})
    assert (refused.status_code, refused.json()["field"]) == (400, "extension.org.lianren.break-glass")


# When the key of the pseudonyms turns


@pytest.mark.slow
def test_a_new_epoch_forgets_neither_what_was_said_nor_what_was_answered(tmp_path: Path) -> None:
    with source_of(tmp_path) as (url, _):
        node = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        asked = body()
        with gateway_with(tmp_path, [node]) as before:
            first = before.client().post("/api/v1/checks", json=asked)
            said = before.client().post(
                "/api/v1/consents",
                json={"patient": {"type": "resident-id", "value": PATIENT}, "decision": "deny"},
            )
        open_keys(before.settings).new_secret("pseudonym", datetime.now(UTC))
        with started(before.settings, before.tokens) as after:
            his = after.client()
            assert ask(his, body()).consent.consent == said.json()["id"]
            assert his.post("/api/v1/checks", json=asked).content == first.content
            assert stated(after) == [1, 0]
            revoke(his, said.json()["id"])
            assert stated(after) == [0, 0]
            assert ask(his, body()).consent.basis == "none"
            found = [payload["person"] for entry, payload in entries(after, 0) if entry.type == "question"]
            assert len({pseudonym.partition(".")[0] for pseudonym in found}) == 2


def stated(live: Live) -> list[int]:
    """How many statements in force lie under each epoch, the oldest first."""
    epochs = [id_.removeprefix("pseudonym-") for id_ in open_keys(live.settings).secrets("pseudonym")]

    async def count(store: Store) -> list[int]:
        return [await Consents(store).of_epoch(epoch, datetime.now(UTC)) for epoch in epochs]

    return reading(live, count)


def test_over_the_rate_persons_are_not_looked_up(tmp_path: Path) -> None:
    with gateway_with(tmp_path, [], pseudonyms_per_minute=1) as live:
        assert live.client().post("/api/v1/checks", json=body()).status_code == 200
        kept = live.kept()
        refused = live.client().post("/api/v1/checks", json=body())
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert live.kept() == kept
