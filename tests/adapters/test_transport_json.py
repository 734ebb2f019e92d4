"""What a JSON answer must be before it is parsed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import NodeFaulty
from adapters.transport import JSON_TYPES, json_text
from adapters.transport.json_text import DEEPEST

NAME = '{"name": "重庆示例"}'


@pytest.mark.parametrize(
    "media", [*JSON_TYPES, "Application/FHIR+JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_json_in_utf8_is_taken_as_it_is(media: str) -> None:
    body = NAME.encode()
    assert json_text(body, media) is body


@pytest.mark.parametrize("media", ["", "text/html", "application/jsonp", "text/plain; a=application/json"])
def test_what_is_not_called_json_is_refused(media: str) -> None:
    with pytest.raises(NodeFaulty, match="not JSON"):
        json_text(b"{}", media)


@pytest.mark.parametrize("told", ["", "; charset=gb18030", "; charset=GBK", "; charset=gb2312"])
def test_a_node_of_another_character_set_is_read_in_it(told: str) -> None:
    assert json_text(NAME.encode("gb18030"), f"application/json{told}", "gb18030") == NAME.encode()


def test_such_a_node_may_still_say_utf8() -> None:
    assert json_text(NAME.encode(), "application/json; charset=utf-8", "gb18030") == NAME.encode()


@pytest.mark.parametrize(
    ("told", "charset"),
    [("gb18030", "utf-8"), ("latin-1", "utf-8"), ("latin-1", "gb18030"), ("utf-7", "utf-8")],
)
def test_a_character_set_that_was_not_agreed_is_refused(told: str, charset: str) -> None:
    with pytest.raises(NodeFaulty, match="another character set"):
        json_text(b"{}", f"application/json; charset={told}", charset)


@pytest.mark.parametrize(("body", "charset"), [(NAME.encode("gb18030"), "utf-8"), (b'"\xff"', "gb18030")])
def test_a_body_that_is_not_in_its_character_set_is_refused(body: bytes, charset: str) -> None:
    with pytest.raises(NodeFaulty, match=f"not {charset.upper()}"):
        json_text(body, "application/json", charset)


def taken(body: bytes) -> bool:
    try:
        return json_text(body, "application/json") is body
    except NodeFaulty as error:
        assert "levels" in error.detail  # noqa: PT017
        return False


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("[", "]"),
        ('{"a":', "}"),
        ('[{"a":', "}]"),
        ("[[],", "]"),
        ('["]",', ',"["]'),
        ('["\\"]",', "]"),
        ('["\\\\",', "]"),
    ],
)
def test_json_is_taken_to_a_depth_and_no_further(opening: str, closing: str) -> None:
    levels = len(
        opening.replace("[],", "")
        .replace('"]"', "")
        .replace('\\"]', "")
        .translate({ord(c): None for c in '":a,\\ '})
    )
    for depth, fine in ((20, True), (DEEPEST - 4, True), (DEEPEST + 1, False), (100_000, False)):
        body = opening * (depth // levels) + "[" * (depth % levels) + "1"
        assert taken((body + "]" * (depth % levels) + closing * (depth // levels)).encode()) is fine


def test_brackets_in_texts_are_not_levels() -> None:
    assert taken(json.dumps(["[" * 1000, "\\", '"[' * 1000, {"[[": "]]"}]).encode())


def test_brackets_that_never_close_are_levels() -> None:
    assert not taken(b"[" * 1000)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(values, st.sampled_from([None, 2]), st.booleans())
def test_whatever_is_not_deep_is_taken(value: object, indent: int | None, ascii_only: bool) -> None:
    assert taken(json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace"))


@given(values, st.lists(st.sampled_from(["list", "dict", "sibling"]), min_size=DEEPEST + 1, max_size=90))
def test_whatever_is_deeper_is_not(value: object, wraps: list[str]) -> None:
    for wrap in wraps:
        value = {"list": [value], "dict": {"[": value}, "sibling": ["]}", value, [], {}]}[wrap]
    assert not taken(json.dumps(value).encode())
