"""Request bodies: what must be read is read, what must be refused is refused, nothing else happens."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from gateway.body import BadBody, decode, read_json, receive

VECTORS = Path(__file__).resolve().parents[3] / "shared/conformance/badinput/shared/json-parsing.jsonl.gz"


class Person(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    kind: Literal["a", "b"] = "a"


class Group(Struct, frozen=True):
    people: tuple[Person, ...]


def refusal(raw: bytes, **how: Any) -> BadBody:
    with pytest.raises(BadBody) as caught:
        read_json(raw, **how)
    return caught.value


def vectors(verdict: str) -> list[tuple[str, bytes]]:
    if not VECTORS.exists():
        pytest.skip("the shared conformance folder is not beside this checkout")
    lines = gzip.decompress(VECTORS.read_bytes()).decode().splitlines()
    found = [json.loads(line) for line in lines]
    return [(v["name"], base64.b64decode(v["b64"])) for v in found if v["expect"] == verdict]


def reads(raw: bytes) -> bool:
    try:
        read_json(raw)
    except BadBody:
        return False
    return True


def test_valid_texts_of_the_json_test_suite_are_read() -> None:
    # RFC 8259 leaves repeated names open, and the suite accepts them; here they are an attack.
    expected = {name for name, _ in vectors("accept")} - {"y_object_duplicated_key.json"}
    assert {name for name, raw in vectors("accept") if reads(raw)} == expected


def test_invalid_texts_of_the_json_test_suite_are_refused() -> None:
    assert [name for name, raw in vectors("refuse") if reads(raw)] == []


def test_open_texts_of_the_json_test_suite_are_read_or_refused() -> None:
    assert all(reads(raw) in (True, False) for _, raw in vectors("either"))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    assert reads(raw) in (True, False)


@given(st.text(alphabet='[]{}",:\\u0dD8aF1e.-tn \n', max_size=60))
def test_any_almost_json_is_read_or_refused(text: str) -> None:
    assert reads(text.encode()) in (True, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_json_value_is_read(value: Any) -> None:
    read_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def test_a_repeated_name_is_named_with_its_path() -> None:
    assert refusal(b'{"a":[{"b":1,"b":2}]}').field == "a[0].b"


def test_a_repeated_name_is_a_400() -> None:
    assert refusal(b'{"a":1,"a":1}').status == 400


def test_a_repeated_name_among_very_many_is_found_in_time() -> None:
    raw = b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b',"k99999":1}'
    begun = time.process_time()
    with pytest.raises(BadBody):
        read_json(raw)
    assert time.process_time() - begun < 2


def test_names_that_are_equal_only_after_unescaping_are_repeated() -> None:
    assert refusal(b'{"a":1,"\\u0061":1}').field == "a"


def test_a_byte_order_mark_is_refused() -> None:
    assert "byte order mark" in refusal(b"\xef\xbb\xbf{}").what


def test_utf_16_is_refused() -> None:
    assert "UTF-8" in refusal('{"a":1}'.encode("utf-16")).what


def test_half_a_surrogate_pair_is_named_with_its_path() -> None:
    assert refusal(b'{"a":["x","\\ud800"]}').field == "a[1]"


def test_a_whole_surrogate_pair_is_read() -> None:
    read_json(b'["\\uD83D\\uDE00"]')


def test_a_number_beyond_a_double_is_named_with_its_path() -> None:
    assert refusal(b'{"dose":[1e400]}').field == "dose[0]"


def test_an_integer_of_five_thousand_digits_is_refused() -> None:
    assert refusal(b"[" + b"9" * 5000 + b"]").field == "[0]"


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_no_number_of_json_is_refused(word: bytes) -> None:
    assert refusal(b'{"a":' + word + b"}").field == "a"


def test_a_body_as_deep_as_the_limit_is_read() -> None:
    read_json(b"[" * 64 + b"]" * 64)


def test_a_body_deeper_than_the_limit_is_refused() -> None:
    assert "64" in refusal(b"[" * 65 + b"]" * 65).what


def test_a_million_open_brackets_are_refused() -> None:
    assert refusal(b'[{"a":' * 1_000_000).status == 400


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    read_json(json.dumps(["[" * 500 + '\\"']).encode())


def test_megabytes_of_escaped_quotes_in_an_open_string_are_refused() -> None:
    assert refusal(b"[" * 65 + b'"' + b'\\"' * 1_000_000).status == 400


def test_a_refusal_repeats_no_value_of_the_body() -> None:
    with pytest.raises(BadBody) as caught:
        decode(b'{"name":"x","kind":"secret"}', Person)
    assert "secret" not in str(caught.value)


def test_a_well_formed_body_is_decoded() -> None:
    assert decode(b'{"people":[{"name":"x"}]}', Group) == Group((Person("x"),))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"name":1}', "name"),
        (b'{"name":"x","kind":"c"}', "kind"),
        (b'{"name":"x","age":1}', "age"),
        (b"{}", "name"),
        (b"[]", "body"),
    ],
)
def test_a_field_that_does_not_fit_is_named(body: bytes, field: str) -> None:
    with pytest.raises(BadBody) as caught:
        decode(body, Person)
    assert (caught.value.field, caught.value.status) == (field, 422)


def test_a_field_inside_a_list_is_named_with_its_path() -> None:
    with pytest.raises(BadBody) as caught:
        decode(b'{"people":[{}]}', Group)
    assert caught.value.field == "people[0].name"


def test_syntax_is_judged_before_content() -> None:
    with pytest.raises(BadBody) as caught:
        decode(b'{"name":1,"name":2}', Person)
    assert caught.value.status == 400


@settings(max_examples=50)
@given(JSON)
def test_any_json_value_is_decoded_or_refused(value: Any) -> None:
    raw = json.dumps(value).encode()
    try:
        decode(raw, Group)
    except BadBody as wrong:
        assert wrong.status in (400, 422)  # noqa: PT017 - any other exception fails the test


def received(pieces: Iterable[bytes], *, headers: dict[str, str] | None = None, limit: int = 100) -> bytes:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request"})
    stated = {"content-type": "application/json"} | (headers or {})
    scope = {"headers": [(name.encode(), value.encode()) for name, value in stated.items()]}

    async def next_message() -> dict[str, Any]:
        return messages.pop(0)

    return asyncio.run(receive(scope, next_message, limit=limit))


def status_of(pieces: Iterable[bytes], headers: dict[str, str] | None = None) -> int:
    with pytest.raises(BadBody) as caught:
        received(pieces, headers=headers)
    return caught.value.status


def test_a_body_in_pieces_is_received_whole() -> None:
    assert received([b'{"a"', b":1}"]) == b'{"a":1}'


def test_utf_8_may_be_said() -> None:
    assert received([b"{}"], headers={"content-type": 'application/fhir+json; charset="UTF-8"'}) == b"{}"


def test_more_than_the_limit_is_a_413() -> None:
    assert status_of([b"x" * 60, b"x" * 60]) == 413


def test_a_stated_length_over_the_limit_is_a_413_before_it_is_read() -> None:
    assert status_of([], {"content-length": "101"}) == 413


@pytest.mark.parametrize("media", ["", "text/plain", "application/xml", "application/json; charset=gb18030"])
def test_another_media_type_is_a_415(media: str) -> None:
    assert status_of([b"{}"], {"content-type": media}) == 415


def test_a_compressed_body_is_a_415() -> None:
    assert status_of([b"{}"], {"content-encoding": "gzip"}) == 415


def test_a_caller_who_hangs_up_is_a_400() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(BadBody) as caught:
        asyncio.run(receive({"headers": [(b"content-type", b"application/json")]}, gone))
    assert caught.value.status == 400
