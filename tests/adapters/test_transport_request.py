"""What leaves is one request with the headers it was given, whatever text they are made of."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import NodeFaulty
from adapters.transport.request import header_lines, request, target


class Read:
    """A request as a strict parser reads it."""

    def __init__(self, data: bytes) -> None:
        self.begun = self.ended = 0
        self.url = self.body = b""
        self.headers: list[tuple[str, str]] = []
        httptools.HttpRequestParser(self).feed_data(data)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


nasty = st.text(st.sampled_from("aZ0-:;, \t\r\n\0/?#%&=\x7f\x80é张\u2028"), max_size=12) | st.text(
    max_size=12
)


@given(nasty, st.lists(st.tuples(nasty, nasty), max_size=3), st.none() | st.binary(max_size=20))
def test_whatever_is_asked_is_refused_or_one_request_that_says_it(
    path: str, headers: list[tuple[str, str]], body: bytes | None
) -> None:
    try:
        data = request("POST", f"/{target(path)}", "Host: h\r\n" + header_lines(headers), body)
    except NodeFaulty as error:
        assert error.detail.startswith("not asked: ")  # noqa: PT017
        return
    read = Read(data)
    assert (read.begun, read.ended if body is not None else 1) == (1, 1)
    assert unquote_to_bytes(read.url[1:]) == unquote_to_bytes(path)
    length = [] if body is None else [("Content-Length", str(len(body)))]
    told = [(name, value.strip(" \t")) for name, value in headers]
    assert [(name, value.strip(" \t")) for name, value in read.headers] == [("Host", "h"), *told, *length]
    assert read.body == (body or b"")


@pytest.mark.parametrize("method", ["", "GET /a", "GET\r\nX: y", "GÉT"])
def test_a_method_that_is_none_is_not_sent(method: str) -> None:
    with pytest.raises(NodeFaulty, match="not asked"):
        request(method, "/", "")


@given(st.text(st.characters(max_codepoint=0x2FF), min_size=1, max_size=20))
def test_a_target_is_visible_ascii_without_a_fragment(path: str) -> None:
    try:
        sent = target(path)
    except NodeFaulty:
        return
    assert all("!" <= character <= "~" and character != "#" for character in sent)
