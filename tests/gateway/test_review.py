"""The review queue: a name that nobody knows, confirmed by people, used, taken back; over HTTP."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from adapters.sqlite import SqliteStore
from adapters.store import Document, Tally
from catalog import load
from gateway._steward_queue import settled
from gateway.review import Row, kept_as_written
from gateway.rules import Rules
from gateway.steward_values import EntryOut, GroupOut, MappingOut, MappingsOut, QueueOut, RevocationOut
from mapping import LocalName, Normaliser
from mapping.sites import SiteNormaliser, SiteTable, Step, key_of
from security.ledger import read_entry
from tests.gateway.live import (
    OWN,
    PATIENT,
    Live,
    ask,
    audit,
    body,
    gateway_over_source,
    gateway_with,
    reading,
    started,
)
from tests.gateway.publishing import insert, lianren, until

ALB, TP, CHEST = "1100104A", "1100204A", "DR-001"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with gateway_over_source(tmp_path_factory.mktemp("review")) as live:
        yield live


@pytest.fixture
def his(live: Live, tmp_path: Path) -> Iterator[httpx.Client]:
    """A hospital's client; when the test is over, every check of an offline audit must pass."""
    yield live.client()
    assert audit(live, tmp_path / "audit") == []


def new_name(meaning: str = "白蛋白测定") -> str:
    """A name that no hospital has written before."""
    signs = "".join("零壹贰叁肆伍陆柒捌玖拾佰仟垓亿兆"[int(digit, 16)] for digit in uuid.uuid4().hex[:8])
    return f"特约{signs}号{meaning}"


def planned(name: str, **more: str) -> dict[str, Any]:
    return body() | {"planned": [{"name": name, "kind": "lab", **more}]}


def met(his: httpx.Client, name: str, **more: str) -> str:
    """Ask for a name that has no item: the id of its row."""
    (unnamed,) = ask(his, planned(name, **more)).unnamed
    return unnamed.review


def queue(client: httpx.Client, **query: str) -> QueueOut:
    answer = client.get("/api/v1/review", params={"limit": "500", **query})
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=QueueOut)


def rows(client: httpx.Client, **query: str) -> dict[str, tuple[str, int]]:
    """Id → reason and count of every name that the queue shows."""
    return {
        name.id: (name.reason, name.count) for group in queue(client, **query).groups for name in group.names
    }


def confirm(client: httpx.Client, review: str, item: str = ALB, note: str = "") -> MappingOut:
    answer = client.post(f"/api/v1/review/{review}/confirmations", json={"item": item, "note": note})
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=MappingOut)


def both(live: Live, review: str, item: str = ALB) -> MappingOut:
    """Two persons confirm."""
    confirm(live.client("steward"), review, item)
    return confirm(live.client("second"), review, item)


def mappings(client: httpx.Client) -> tuple[MappingOut, ...]:
    answer = client.get("/api/v1/mappings", params={"limit": "500"})
    return msgspec.json.decode(answer.content, type=MappingsOut).mappings


def revoke(client: httpx.Client, mapping: str, reason: str = "查明有误") -> RevocationOut:
    answer = client.post(f"/api/v1/mappings/{mapping}/revocations", json={"reason": reason})
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=RevocationOut)


# the story


def test_a_new_name_is_confirmed_by_two_people_used_and_taken_back(live: Live, his: httpx.Client) -> None:
    name = new_name()
    review = met(his, name)
    assert rows(live.client("steward"))[review] == ("unknown", 1)
    first = confirm(live.client("steward"), review, note="电话核对检验科")
    assert (first.state, first.persons) == ("waiting", 2)
    assert met(his, name) == review  # one person is not enough
    mapping = confirm(live.client("second"), review)
    assert (mapping.state, [said.by for said in mapping.confirmations]) == ("in_force", ["steward", "second"])
    answer = ask(his, planned(name))
    assert answer.unnamed == ()
    assert [verdict.verdict for verdict in answer.verdicts] == ["recognised"]
    assert review not in rows(live.client("steward"))
    revoked = revoke(live.client("second"), mapping.id)
    assert revoked.mapping.state == "revoked"
    assert [decision.check for decision in revoked.decisions] == [answer.id]
    assert met(his, name) == review
    assert rows(live.client("steward"))[review] == ("unknown", 3)


def test_what_was_decided_is_read_again_as_it_was(live: Live, his: httpx.Client) -> None:
    name = new_name()
    mapping = both(live, met(his, name))
    answer = ask(his, planned(name))
    revoke(live.client("steward"), mapping.id)
    again = his.get(f"/api/v1/checks/{answer.id}")
    assert msgspec.json.decode(again.content, type=type(answer)) == answer
    explained = his.post("/api/v1/explain", json={"id": answer.id}).json()
    assert explained["stored"]["identical"]


def test_every_step_is_in_the_ledger_and_binds_to_the_one_before(live: Live, his: httpx.Client) -> None:
    review = met(his, new_name())
    first = confirm(live.client("steward"), review)
    mapping = confirm(live.client("second"), review)
    ended = revoke(live.client("steward"), mapping.id).mapping
    assert ended.revoked
    entries = [*(said.entry for said in mapping.confirmations), ended.revoked.entry]
    assert first.confirmations[0].entry == entries[0]

    async def read() -> list[tuple[str, str, str, str]]:
        store = SqliteStore(live.store)
        await store.open()
        try:
            found: list[tuple[str, str, str, str]] = []
            for id_ in entries:
                index = await store.index_of(id_)
                assert index is not None
                entry = read_entry((await store.entries(index, 1))[0])
                found.append((entry.type, entry.from_, entry.scheme.partition("/")[0], entry.binds))
            return found
        finally:
            await store.close()

    assert asyncio.run(read()) == [
        ("catalogue", "steward", "names", ""),
        ("catalogue", "second", "names", entries[0]),
        ("catalogue", "steward", "names", entries[1]),
    ]


def test_a_step_is_an_event_of_the_log_without_the_name(live: Live, his: httpx.Client) -> None:
    name = new_name()
    confirm(live.client("steward"), met(his, name))
    assert live.events("mapping_step")[-1]["client"] == "steward"
    assert name not in live.log.getvalue()


# confirming


def test_what_decides_nothing_dangerous_takes_one_person(live: Live, his: httpx.Client) -> None:
    answer = ask(his, body() | {"planned": [{"name": new_name("胸片"), "kind": "imaging"}]})
    entry = live.client("steward").get(f"/api/v1/review/{answer.unnamed[0].review}").json()
    chest = {one["item"]["code"]: one["persons"] for one in entry["candidates"]}
    one_person = [code for code, persons in chest.items() if persons == 1]
    assert one_person
    assert confirm(live.client("steward"), answer.unnamed[0].review, one_person[0]).state == "in_force"


def test_confirming_twice_is_not_two_persons_and_takes_one_step(live: Live, his: httpx.Client) -> None:
    review = met(his, new_name())
    first = confirm(live.client("steward"), review)
    kept = live.kept()
    assert confirm(live.client("steward"), review) == first
    assert live.kept() == kept


def test_two_persons_at_once_are_two_persons(live: Live, his: httpx.Client) -> None:
    review = met(his, new_name())
    with ThreadPoolExecutor(2) as pool:
        states = list(pool.map(lambda who: confirm(live.client(who), review).state, ("steward", "second")))
    assert sorted(states) == ["in_force", "waiting"]


def test_another_meaning_of_a_confirmed_name_has_to_wait_for_a_revocation(
    live: Live, his: httpx.Client
) -> None:
    review = met(his, new_name())
    mapping = both(live, review)
    refused = live.client("steward").post(f"/api/v1/review/{review}/confirmations", json={"item": TP})
    assert (refused.status_code, refused.json()["field"]) == (422, "id")
    assert mapping.id in refused.json()["detail"]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, "item"),
        ({"item": ALB, "concept": "ALB|S|QN|-"}, "item"),
        ({"concept": "ALB|S|QN|?"}, "concept"),
        ({"item": ALB, "note": f"患者 {PATIENT}"}, "note"),
    ],
)
def test_a_confirmation_that_cannot_be_is_refused(
    live: Live, his: httpx.Client, said: dict[str, str], field: str
) -> None:
    review = met(his, new_name())
    kept = live.kept()
    refused = live.client("steward").post(f"/api/v1/review/{review}/confirmations", json=said)
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert live.kept() == kept


def test_what_a_field_beside_the_name_contradicts_cannot_be_confirmed(live: Live, his: httpx.Client) -> None:
    review = met(his, new_name(), specimen="尿液")
    refused = live.client("steward").post(f"/api/v1/review/{review}/confirmations", json={"item": ALB})
    assert (refused.status_code, refused.json()["field"]) == (422, "concept")


def test_a_confirmation_is_for_one_site_code_and_set_of_fields(live: Live, his: httpx.Client) -> None:
    name = new_name()
    review = met(his, name, code="L-1")
    both(live, review)
    assert ask(his, planned(name, code="L-1")).unnamed == ()
    for client, more in ((his, {}), (his, {"code": "L-2"}), (live.client("other"), {"code": "L-1"})):
        assert ask(client, planned(name, **more)).unnamed[0].review not in ("", review)


def test_a_code_that_changed_its_name_is_listed_as_drift(live: Live, his: httpx.Client) -> None:
    code = uuid.uuid4().hex
    both(live, met(his, new_name(), code=code))
    other = met(his, new_name("总蛋白测定"), code=code)
    assert rows(live.client("steward"), reason="drift")[other] == ("drift", 1)


def test_a_code_that_changed_to_a_name_that_can_be_read_is_listed_and_read(
    live: Live, his: httpx.Client
) -> None:
    code = uuid.uuid4().hex
    both(live, met(his, new_name(), code=code))
    assert ask(his, planned("总蛋白", code=code)).unnamed == ()
    drifted = queue(live.client("steward"), reason="drift").groups
    assert code in {name.code for group in drifted for name in group.names}


# the queue


def test_names_of_one_token_are_one_group_and_the_busiest_comes_first(live: Live, his: httpx.Client) -> None:
    token = new_name("")
    for meaning, times in (("白蛋白", 3), ("总蛋白", 1)):
        for _ in range(times):
            met(his, token + meaning)
    (group,) = [g for g in queue(live.client("steward")).groups if g.token and g.token in token]
    assert (group.count, group.members, [name.count for name in group.names]) == (4, 2, [3, 1])
    counts = [g.count for g in queue(live.client("steward")).groups]
    assert counts == sorted(counts, reverse=True)


def test_pages_of_the_queue_make_the_whole(live: Live, his: httpx.Client) -> None:
    for _ in range(3):
        met(his, new_name())
    steward = live.client("steward")
    whole, after = queue(steward).groups, ""
    pages: list[GroupOut] = []
    while True:
        page = queue(steward, limit="2", after=after)
        pages += page.groups
        if not (after := page.next):
            break
    assert tuple(pages) == whole


def test_a_result_s_name_is_counted_confirmed_and_then_recognised(live: Live, his: httpx.Client) -> None:
    name, code = new_name(), uuid.uuid4().hex[:8]
    node = live.settings.nodes[0].url
    asked = httpx.get(f"{node}/Observation", params={"patient": "Patient/ding"}, trust_env=False)
    (found,) = asked.json()["entry"]
    result = found["resource"] | {
        "id": code,
        "identifier": [{"system": f"urn:lianren:report:{OWN}", "value": code}],
        "code": {"text": name, "coding": [{"system": f"urn:lianren:local:{OWN}", "code": code}]},
    }
    put = httpx.put(
        f"{node}/Observation/{code}",
        content=json.dumps(result),
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
    )
    assert put.status_code in (200, 201), put.text

    def verdicts() -> tuple[str, list[str]]:
        answer = ask(his, body())
        return answer.id, [v.verdict for v in answer.verdicts if v.result.local_name == name]

    assert verdicts()[1] == ["view_only"]
    (row,) = [n for g in queue(live.client("steward"), site=OWN).groups for n in g.names if n.name == name]
    assert (row.code, row.fields["unit"], row.fields["specimen"]) == (code, "g/L", "血清")
    both(live, row.id)
    check, found_now = verdicts()
    assert found_now == ["recognised"]
    (mapping,) = [m for m in mappings(live.client("steward")) if m.review == row.id]
    assert [d.check for d in revoke(live.client("steward"), mapping.id).decisions] == [check]
    assert verdicts()[1] == ["view_only"]


def test_a_name_with_a_person_s_number_makes_no_row(live: Live, his: httpx.Client) -> None:
    spaced = f"{PATIENT[:6]} {PATIENT[6:14]} {PATIENT[14:]}"
    before = rows(live.client("steward"))
    for text in (f"白蛋白{PATIENT}复查", f"特约{spaced}"):
        assert met(his, text) == ""
    assert met(his, new_name(), code=PATIENT) == ""
    assert rows(live.client("steward")) == before


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("CA19-9", True),
        ("胸部CT（64排，2026年）", True),
        ("/".join((PATIENT[:6], PATIENT[6:14], PATIENT[14:])), False),
        (f"{PATIENT[:9]}\u200b{PATIENT[9:]}", False),
        (PATIENT.translate({ord(str(d)): chr(0xFF10 + d) for d in range(10)}), False),
        ("护照 CHN:E12345678", False),
        ("\ud800", False),
        (" ", False),
    ],
)
def test_only_what_may_stand_there_is_kept(text: str, kept: bool) -> None:
    assert kept_as_written(LocalName(name=text)) is kept


@pytest.mark.parametrize(
    ("concept", "after", "answered"),
    [("ALB|S|QN|-", 1, True), ("ZZZ|S|QN|-", -1, True), ("ZZZ|S|QN|-", 1, False)],
)
def test_a_confirmed_name_that_is_met_and_not_read_comes_back(
    concept: str, after: int, answered: bool
) -> None:
    catalogue, at = load(), datetime.now(UTC)
    grammars, local = Normaliser(catalogue), LocalName(name="特约项目", kind="lab", site=OWN)
    step = Step(id="1", act="confirm", by="a", at=at, key=key_of(local), local=local, concept=concept)
    table = SiteTable().after([replace(step, persons=1)])
    met_at = at + timedelta(seconds=after)
    tally = Tally(kind="review", id=key_of(local), body=b"", first=met_at, last=met_at)
    rules = Rules(catalogue, SiteNormaliser(grammars, catalogue, table))
    assert settled(tally, Row(local, "unknown", "特约项目"), table, rules) is answered


def test_an_erased_row_is_gone(live: Live, his: httpx.Client) -> None:
    review = met(his, new_name())
    steward = live.client("steward")
    assert steward.delete(f"/api/v1/review/{review}").json() == {"erased": True}
    assert steward.get(f"/api/v1/review/{review}").status_code == 404
    assert review not in rows(steward)


def test_a_row_shows_how_it_is_read_and_what_it_may_mean(live: Live, his: httpx.Client) -> None:
    review = met(his, new_name())
    answer = live.client("steward").get(f"/api/v1/review/{review}")
    entry = msgspec.json.decode(answer.content, type=EntryOut)
    assert entry.candidates[0].item.code == ALB
    assert entry.candidates[0].persons == 2
    assert entry.token in entry.name.name
    assert "analyte" in {slot for _, _, slot in entry.spans}


# who may


@pytest.mark.parametrize("who", ["his", "peer", "auditor"])
def test_the_queue_is_for_stewards(live: Live, who: str) -> None:
    assert live.client(who).get("/api/v1/review").status_code == 403


def test_proposals_are_not_for_the_steward_of_one_hospital(live: Live) -> None:
    assert live.client("own-steward").get("/api/v1/review/proposals").status_code == 403


def test_an_auditor_may_read_the_mappings(live: Live) -> None:
    assert live.client("auditor").get("/api/v1/mappings").status_code == 200


def test_the_steward_of_a_hospital_sees_its_names_alone(live: Live, his: httpx.Client) -> None:
    mine, theirs = met(his, new_name()), met(live.client("other"), new_name())
    own = live.client("own-steward")
    assert {group.site.code for group in queue(own).groups} == {OWN}
    assert own.get(f"/api/v1/review/{mine}").status_code == 200
    assert own.get(f"/api/v1/review/{theirs}").status_code == 404
    refused = own.post(f"/api/v1/review/{theirs}/confirmations", json={"item": ALB})
    assert refused.status_code == 404


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("review?limit=0", "limit"),
        ("review?after=x", "after"),
        ("review?sites=x", "sites"),
        ("mappings?limit=501", "limit"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(live: Live, path: str, field: str) -> None:
    refused = live.client("steward").get(f"/api/v1/{path}")
    assert (refused.status_code, refused.json()["field"]) == (422, field)


# what stays


@pytest.mark.slow
def test_after_a_restart_everything_is_as_it_was(tmp_path: Path) -> None:
    with gateway_over_source(tmp_path) as first:
        name = new_name()
        both(first, met(first.client(), name))
        before = first.client("steward").get("/api/v1/mappings").content
        settings = first.settings
        with started(settings, first.tokens) as second:
            assert second.client("steward").get("/api/v1/mappings").content == before
            assert ask(second.client(), planned(name)).unnamed == ()


@pytest.mark.slow
def test_a_step_that_nobody_signed_changes_nothing(tmp_path: Path) -> None:
    with gateway_with(tmp_path, [], catalogue_poll_s=1) as live:
        name = new_name()
        review = met(live.client(), name)
        confirm(live.client("steward"), review)
        forge(live)
        until(lambda: bool(live.events("mapping_refused")), 10)
        assert met(live.client(), name) == review


@pytest.mark.slow
def test_a_revocation_counts_also_when_its_signature_holds_no_longer(tmp_path: Path) -> None:
    with gateway_with(tmp_path, []) as first:
        name = new_name()
        review = met(first.client(), name)
        revoke(first.client("steward"), both(first, review).id)
        step = reading(first, lambda store: store.document("mapping", "00000003"))
        assert step is not None
        unsigned = step.body.replace(b'signature":"', b'signature":"AA')
        insert(first.store, msgspec.structs.replace(step, body=unsigned))
        with started(first.settings, first.tokens) as second:
            assert [event["step"] for event in second.events("mapping_refused")] == ["00000003"]
            assert met(second.client(), name) == review


@pytest.mark.slow
def test_while_a_step_is_missing_nothing_is_in_force_and_none_follows(tmp_path: Path) -> None:
    with gateway_with(tmp_path, []) as first:
        name, other = new_name(), new_name()
        review = met(first.client(), name)
        mapping = both(first, review)
        revoke(first.client("steward"), mapping.id)
        both(first, review)
        by_hand(first, "DELETE FROM document WHERE kind = 'mapping' AND id = '00000003'")
        with started(first.settings, first.tokens) as second:
            assert [event["step"] for event in second.events("mapping_refused")] == ["00000003"]
            assert met(second.client(), name) == review
            path = f"/api/v1/review/{met(second.client(), other)}/confirmations"
            assert second.client("steward").post(path, json={"item": ALB}).status_code == 503


def by_hand(live: Live, statement: str) -> None:
    """Change the database as one who may write to it."""
    with closing(sqlite3.connect(live.store)) as connection, connection:
        assert connection.execute(statement).rowcount == 1


def forge(live: Live) -> None:
    """Write the second person's confirmation into the database by hand."""
    (step,) = reading(live, lambda store: store.documents("mapping"))
    kept = msgspec.json.decode(step.body)
    kept["statement"] = (
        kept["statement"].replace('"by":"steward"', '"by":"second"').replace("00000001", "00000002")
    )
    insert(live.store, Document(kind="mapping", id="00000002", body=msgspec.json.encode(kept), at=step.at))


# the command


def test_the_command_tells_the_whole_story(live: Live, his: httpx.Client, tmp_path: Path) -> None:
    tokens = {name: tmp_path / name for name in ("steward", "second")}
    for who, file in tokens.items():
        file.write_text(live.tokens[who])

    def review(who: str, *words: str) -> tuple[int, str]:
        done = lianren("review", *words, "--gateway", live.url, "--token-file", tokens[who])
        return done.status, done.out

    name = new_name()
    id_ = met(his, name)
    status, out = review("steward", "list", "--site", OWN, "--limit", "500")
    assert status == 0
    assert id_ in out
    status, out = review("steward", "show", id_)
    assert (status, ALB in out) == (0, True)
    assert review("steward", "confirm", id_, "--item", ALB)[0] == 1
    status, out = review("second", "confirm", id_, "--item", ALB, "--json")
    mapping = msgspec.json.decode(out, type=MappingOut)
    assert (status, mapping.state) == (0, "in_force")
    check = ask(his, planned(name)).id
    status, out = review("second", "revoke", mapping.id, "--reason", "查明有误")
    assert (status, check in out) == (0, True)
    status, out = review("steward", "proposals")
    assert (status, "proposals" in out) == (0, True)
    assert review("steward", "show", "0" * 32)[0] == 2


def test_a_token_of_three_hospitals_is_proposed_with_its_row_and_its_replay(
    live: Live, his: httpx.Client, tmp_path: Path
) -> None:
    token = new_name("")
    for who in ("his", "other", "third"):
        both(live, met(live.client(who), f"{token}白蛋白测定"))
    answer = live.client("steward").get("/api/v1/review/proposals").json()
    (found,) = [one for one in answer["proposals"] if one["proposal"]["token"] in token]
    assert found["proposal"]["sites"] == ["EX-CQ-01", "EX-HB-01", "EX-SC-01"]
    assert found["proposal"]["row"] != found["proposal"]["replaces"]
    assert found["admissible"]
    names, pairs, file = tmp_path / "names.csv", tmp_path / "pairs.csv", tmp_path / "token"
    names.write_text(f"local_name,kind\n{token}总蛋白,lab\n白蛋白,lab\n", encoding="utf-8")
    pairs.write_text(f"name_a,name_b\n{token}白蛋白,白蛋白\n", encoding="utf-8")
    file.write_text(live.tokens["steward"])
    words = ("review", "proposals", "--gateway", live.url, "--token-file", file)
    assert lianren(*words).status == 0
    done = lianren(*words, "--names", names, "--pairs", pairs)
    assert done.status == 1
    assert f"dev {token}总蛋白: – → TP|S|QN|-" in done.out
    assert f"pair {token}白蛋白 / 白蛋白: – → ALB|S|QN|-" in done.out
