"""The REST interactions on a shelf: versions, conditions, preferences, history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.body import BadBody
from gateway.demo.people import BY_KEY
from gateway.errors import BadParameter, Gone, NotAcceptable, NotFound, NotOffered, PreconditionFailed
from gateway.resources.file_shelf import FileShelf
from gateway.resources.interactions import Call
from tests.gateway.resources.shelves import BASE, SYSTEM, Desk, observation


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk over an empty shelf."""
    shelf = FileShelf(tmp_path / "shelf.sqlite3")
    yield Desk(shelf)
    shelf.close()


def put(desk: Desk, id_: str = "o1", **changes: Any) -> Any:
    return desk.write("PUT", f"Observation/{id_}", observation(id=id_, **changes))


def status_of(desk: Desk, id_: str = "o1") -> str:
    return str(json.loads(desk.look(f"Observation/{id_}").body)["status"])


def test_a_created_resource_stands_at_its_location(desk: Desk) -> None:
    reply = desk.write("POST", "Observation", observation(id="mine"))
    assert reply.status == 201
    assert reply.location.startswith(f"{BASE}/Observation/")
    path = reply.location.removeprefix(f"{BASE}/")
    assert "mine" not in path
    assert desk.look(path).body == reply.body


def test_a_resource_is_served_as_it_came_but_for_version_and_time(desk: Desk) -> None:
    raw = (
        b'{"resourceType":"Observation","status":"final", "id":"o1", "valueQuantity": { "value": 72.50 },'
        b'"code":{"text":"\xe9\x92\xbe"}}'
    )
    desk.run(desk.interactions.write(Call(method="PUT", path="Observation/o1", body=raw)))
    out = desk.look("Observation/o1").body
    assert b'{ "value": 72.50 }' in out
    assert json.loads(out).pop("meta")["versionId"] == "1"


def test_an_update_where_nothing_stands_creates(desk: Desk) -> None:
    assert (put(desk).status, put(desk, status="amended").status) == (201, 200)


def test_the_same_bytes_make_no_new_version(desk: Desk) -> None:
    put(desk)
    assert put(desk).headers["ETag"] == 'W/"1"'


def test_an_id_that_is_not_that_of_the_address_is_refused(desk: Desk) -> None:
    with pytest.raises(BadBody) as refused:
        desk.write("PUT", "Observation/o1", observation(id="o2"))
    assert refused.value.status == 400


def test_an_update_without_an_id_is_refused(desk: Desk) -> None:
    with pytest.raises(BadBody) as refused:
        desk.write("PUT", "Observation/o1", observation())
    assert refused.value.status == 400


def test_a_persons_number_is_no_id(desk: Desk) -> None:
    number = BY_KEY["ding"].number
    with pytest.raises(BadBody) as refused:
        desk.write("PUT", f"Observation/{number}", observation(id=number))
    assert number not in str(refused.value)


@pytest.mark.parametrize("tag", ['W/"1"', '"1"', 'W/"9", W/"1"', "*"])
def test_an_update_that_names_the_version_is_kept(desk: Desk, tag: str) -> None:
    put(desk)
    changed = observation(id="o1", status="amended")
    assert desk.write("PUT", "Observation/o1", changed, if_match=tag).status == 200


@pytest.mark.parametrize("tag", ['W/"2"', "nonsense"])
def test_an_update_that_names_another_version_is_refused(desk: Desk, tag: str) -> None:
    put(desk)
    with pytest.raises(PreconditionFailed):
        desk.write("PUT", "Observation/o1", observation(id="o1", status="amended"), if_match=tag)
    assert status_of(desk) == "final"


def test_an_update_of_nothing_that_names_a_version_is_refused(desk: Desk) -> None:
    with pytest.raises(PreconditionFailed):
        desk.write("PUT", "Observation/o1", observation(id="o1"), if_match="*")


@pytest.mark.parametrize("tag", ["*", 'W/"1"'])
def test_an_update_may_ask_that_something_does_not_stand_there(desk: Desk, tag: str) -> None:
    put(desk)
    with pytest.raises(PreconditionFailed):
        desk.write("PUT", "Observation/o1", observation(id="o1", status="amended"), if_none_match=tag)
    assert desk.write("PUT", "Observation/o2", observation(id="o2"), if_none_match=tag).status == 201


def test_a_deleted_resource_is_gone_and_its_versions_stay(desk: Desk) -> None:
    put(desk)
    assert desk.write("DELETE", "Observation/o1").status == 204
    with pytest.raises(Gone):
        desk.look("Observation/o1")
    assert desk.look("Observation/o1/_history/1").status == 200


def test_what_is_gone_or_never_was_is_deleted_again_without_a_version(desk: Desk) -> None:
    put(desk)
    desk.write("DELETE", "Observation/o1")
    assert desk.write("DELETE", "Observation/o1").headers["ETag"] == 'W/"2"'
    assert desk.write("DELETE", "Observation/never").status == 204


def test_what_was_deleted_is_created_again_as_the_next_version(desk: Desk) -> None:
    put(desk)
    desk.write("DELETE", "Observation/o1")
    reply = put(desk)
    assert (reply.status, reply.headers["ETag"]) == (201, 'W/"3"')


def test_a_delete_that_names_another_version_is_refused(desk: Desk) -> None:
    put(desk)
    with pytest.raises(PreconditionFailed):
        desk.write("DELETE", "Observation/o1", if_match='W/"7"')


@pytest.mark.parametrize(
    "path", ["Observation/never", "Observation/o1/_history/9", "Observation/o1/_history/x", "Basic/o1"]
)
def test_what_never_was_is_not_found(desk: Desk, path: str) -> None:
    put(desk)
    with pytest.raises(NotFound):
        desk.look(path)


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "Observation/o1"), ("POST", "Observation/o1"), ("PUT", "Observation/o1/x")]
)
def test_what_is_not_offered_is_refused(desk: Desk, method: str, path: str) -> None:
    with pytest.raises(NotOffered):
        desk.write(method, path)


def test_a_reader_who_has_the_version_gets_nothing_again(desk: Desk) -> None:
    put(desk)
    reply = desk.look("Observation/o1", if_none_match='W/"1"')
    assert (reply.status, reply.body) == (304, b"")
    assert desk.look("Observation/o1", if_none_match='W/"2"').status == 200


def test_a_reader_may_want_some_of_it(desk: Desk) -> None:
    put(desk)
    told = json.loads(desk.look("Observation/o1", query="_elements=code").body)
    assert "code" in told
    assert "subject" not in told


@pytest.mark.parametrize("query", ["status=final", "_format=xml", "_summary=perhaps", "_summary=count"])
def test_a_read_is_asked_strictly(desk: Desk, query: str) -> None:
    put(desk)
    with pytest.raises((BadParameter, BadBody, NotAcceptable)):
        desk.look("Observation/o1", query=query)


@pytest.mark.parametrize(
    ("prefer", "kind"),
    [
        ("return=minimal", ""),
        ("RETURN=minimal", ""),
        ("return=representation", "Observation"),
        ("return=OperationOutcome", "OperationOutcome"),
        ("respond-async, return=minimal", ""),
        ("return=", "Observation"),
        ("return=all", "Observation"),
        ("", "Observation"),
    ],
)
def test_a_writer_gets_back_what_it_prefers(desk: Desk, prefer: str, kind: str) -> None:
    body = desk.write("PUT", "Observation/o1", observation(id="o1"), prefer=prefer).body
    assert (json.loads(body)["resourceType"] if body else "") == kind


CRITERIA = f"identifier={SYSTEM}|R1/1"


def test_a_conditional_create_creates_what_is_not_there(desk: Desk) -> None:
    assert desk.write("POST", "Observation", observation(), if_none_exist=CRITERIA).status == 201


def test_a_conditional_create_leaves_the_one_that_is_there(desk: Desk) -> None:
    put(desk)
    reply = desk.write("POST", "Observation", observation(status="amended"), if_none_exist=CRITERIA)
    assert (reply.status, reply.location) == (200, f"{BASE}/Observation/o1/_history/1")
    assert status_of(desk) == "final"


def test_two_conditional_creates_at_once_create_one(desk: Desk) -> None:
    body = json.dumps(observation()).encode()
    call = Call(method="POST", path="Observation", body=body, if_none_exist=CRITERIA)

    async def twice() -> list[int]:
        desk.interactions.turn = asyncio.Lock()
        replies = await asyncio.gather(*(desk.interactions.write(call) for _ in range(2)))
        return sorted(reply.status for reply in replies)

    assert desk.run(twice()) == [200, 201]


@pytest.mark.parametrize("criteria", ["", "_format=json"])
def test_a_condition_without_criteria_is_refused(desk: Desk, criteria: str) -> None:
    with pytest.raises(BadBody) as refused:
        desk.write("POST", "Observation", observation(), if_none_exist=criteria)
    assert refused.value.status == 400


def test_criteria_that_fit_several_are_refused(desk: Desk) -> None:
    put(desk)
    put(desk, "o2")
    with pytest.raises(PreconditionFailed):
        desk.write("PUT", "Observation", observation(), query=CRITERIA)


def test_criteria_by_which_a_shelf_does_not_find_all_are_refused(desk: Desk) -> None:
    with pytest.raises(PreconditionFailed):
        desk.write("POST", "Observation", observation(), if_none_exist="status=final")


def test_criteria_are_narrowed_by_what_else_they_say(desk: Desk) -> None:
    put(desk)
    put(desk, "o2", status="amended")
    assert desk.write("DELETE", "Observation", query=f"{CRITERIA}&status=amended").status == 204
    with pytest.raises(Gone):
        desk.look("Observation/o2")


def test_a_conditional_update_changes_the_one_that_fits(desk: Desk) -> None:
    put(desk)
    assert desk.write("PUT", "Observation", observation(status="amended"), query=CRITERIA).status == 200
    assert status_of(desk) == "amended"


def test_a_conditional_update_creates_at_the_id_that_came_along(desk: Desk) -> None:
    reply = desk.write("PUT", "Observation", observation(id="o7"), query=CRITERIA)
    assert (reply.status, status_of(desk, "o7")) == (201, "final")


def test_a_conditional_update_creates_where_something_was_deleted(desk: Desk) -> None:
    put(desk)
    desk.write("DELETE", "Observation/o1")
    reply = desk.write("PUT", "Observation", observation(id="o1"), query=CRITERIA)
    assert (reply.status, reply.headers["ETag"]) == (201, 'W/"3"')


def test_a_conditional_update_that_names_a_version_creates_nothing(desk: Desk) -> None:
    with pytest.raises(PreconditionFailed):
        desk.write("PUT", "Observation", observation(), query=CRITERIA, if_match='W/"1"')


def test_a_conditional_update_with_the_id_of_another_is_refused(desk: Desk) -> None:
    put(desk)
    with pytest.raises(BadBody) as refused:
        desk.write("PUT", "Observation", observation(id="o2"), query=CRITERIA)
    assert refused.value.status == 400


def test_a_conditional_update_never_overwrites_what_does_not_fit(desk: Desk) -> None:
    put(desk, identifier=[{"system": SYSTEM, "value": "R2/1"}])
    with pytest.raises(PreconditionFailed):
        desk.write("PUT", "Observation", observation(id="o1"), query=CRITERIA)


def test_a_conditional_delete_of_nothing_is_done(desk: Desk) -> None:
    assert desk.write("DELETE", "Observation", query=CRITERIA).status == 204


def history(desk: Desk, query: str = "") -> Any:
    return json.loads(desk.look("Observation/o1/_history", query=query).body)


@pytest.fixture
def written(desk: Desk) -> Desk:
    """Created, changed, deleted."""
    put(desk)
    put(desk, status="amended")
    desk.write("DELETE", "Observation/o1")
    return desk


def test_a_history_tells_every_version_the_newest_first(written: Desk) -> None:
    told = history(written)
    assert [one["response"]["etag"] for one in told["entry"]] == ['W/"3"', 'W/"2"', 'W/"1"']
    assert [one["request"]["method"] for one in told["entry"]] == ["DELETE", "PUT", "PUT"]
    assert ["resource" in one for one in told["entry"]] == [False, True, True]
    assert told["total"] == 3


def test_a_long_history_goes_on_at_its_next_page(written: Desk) -> None:
    seen, told = [], history(written, "_count=2")
    while True:
        seen += [one["response"]["etag"] for one in told["entry"]]
        further = [link["url"] for link in told["link"] if link["relation"] == "next"]
        if not further:
            break
        told = history(written, further[0].partition("?")[2])
    assert seen == ['W/"3"', 'W/"2"', 'W/"1"']


def test_a_history_may_begin_later(written: Desk) -> None:
    assert history(written, "_since=2090-01-01T00:00:00Z")["total"] == 0


@pytest.mark.parametrize("query", ["_count=x", "_since=yesterday", "code=x"])
def test_a_history_is_asked_strictly(written: Desk, query: str) -> None:
    with pytest.raises((BadParameter, BadBody)):
        history(written, query)


def test_a_history_is_a_valid_bundle(written: Desk) -> None:
    from fhir.resources.R4B.bundle import Bundle

    Bundle.model_validate(history(written))
