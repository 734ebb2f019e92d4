"""The version in what goes out, and that nothing else of a resource changes."""

import json
from datetime import UTC, datetime

import pytest

from gateway.resources.stamping import stamped
from gateway.resources.values import Kept

SAVED = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def kept(body: bytes) -> Kept:
    return Kept(type="Observation", id="a1", version=3, saved=SAVED, body=body)


def test_version_and_time_are_said() -> None:
    out = json.loads(stamped(kept(b'{"resourceType":"Observation","id":"a1"}')))
    assert out["meta"] == {"versionId": "3", "lastUpdated": "2026-11-22T06:30:00.000+00:00"}


def test_a_version_that_came_along_is_replaced_and_the_rest_of_meta_stays() -> None:
    body = b'{"resourceType":"Observation","id":"a1","meta":{"versionId":"77","profile":["http://e.org/p"]}}'
    out = json.loads(stamped(kept(body)))
    assert (out["meta"]["versionId"], out["meta"]["profile"]) == ("3", ["http://e.org/p"])


def test_decimals_and_white_space_inside_a_member_stay_as_they_came() -> None:
    value = b'"valueQuantity":{ "value": 72.50, "unit":"\xe5\x85\x8b" }'
    body = b'{"resourceType":"Observation","id":"a1",' + value + b"}"
    assert value in stamped(kept(body))


def test_the_members_keep_their_order() -> None:
    body = b'{"resourceType":"Observation","status":"final","meta":{},"id":"a1"}'
    assert list(json.loads(stamped(kept(body)))) == ["resourceType", "status", "meta", "id"]


@pytest.mark.parametrize("rest", [b"", b',"status":"final","note":[{"text":"a"}]'])
def test_a_resource_that_need_not_be_taken_apart_says_the_same(rest: bytes) -> None:
    whole = b'{"resourceType":"Observation","id":"a1"' + rest + b"}"
    assert stamped(kept(whole)) == stamped(kept(b" " + whole))


def test_only_the_resources_own_meta_is_replaced() -> None:
    contained = b'"contained":[{"resourceType":"Specimen","id":"s","meta":{"versionId":"77"}}]'
    out = json.loads(stamped(kept(b'{"resourceType":"Observation","id":"a1",' + contained + b"}")))
    assert (out["meta"]["versionId"], out["contained"][0]["meta"]["versionId"]) == ("3", "77")
