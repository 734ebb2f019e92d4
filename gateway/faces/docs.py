"""``/docs``: the published description as one page of plain HTML, for people.

FastAPI's own page loads its scripts from other hosts, and stays blank in a hospital's network. This one is
made from the same description, loads nothing and prints well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

router = APIRouter()
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-family:ui-monospace,monospace}table{border-collapse:collapse;width:100%;margin:.5rem 0}"
    "td,th{border:1px solid #bbb;padding:.2rem .5rem;text-align:left;vertical-align:top}"
    "h2{margin-top:2rem}@media print{h2{break-after:avoid}table{break-inside:avoid}}"
)
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The page; it holds nothing but the description."""
    return HTMLResponse("".join(_page(request.app.openapi())), headers=_HEADERS)


def _page(description: Mapping[str, Any]) -> Iterator[str]:
    info = description["info"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
    yield f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    yield f'<p>{escape(info.get("summary", ""))} · <a href="/openapi.json">openapi.json</a></p>'
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            yield from _operation(path, method, operation)
    yield "<h2>Values</h2>"
    for name, schema in sorted(description["components"]["schemas"].items()):
        yield from _schema(name, schema)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    token = " · needs a token" if operation.get("security") else ""
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p><b>{escape(operation['summary'])}</b>{token}<br>{escape(operation.get('description', ''))}</p>"
    yield "<table>"
    for parameter in operation.get("parameters", ()):
        meaning = escape(parameter.get("description", parameter["in"]))
        yield f"<tr><th>{escape(parameter['name'])}<td>{meaning}"
    if body := operation.get("requestBody"):
        yield f"<tr><th>body<td>{_content(body['content'])}"
    alike: dict[str, list[str]] = {}
    for status, response in operation["responses"].items():
        content = _content(response["content"]) if "content" in response else "nothing"
        said = f"{escape(response['description'])}: {content}"
        alike.setdefault(said, []).append(status)
    for said, statuses in alike.items():
        yield f"<tr><th>{', '.join(statuses)}<td>{said}"
    yield "</table>"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3>'
    yield f"<p>{escape(schema.get('description', ''))}</p><table>"
    required = schema.get("required", ())
    for field, kind in schema.get("properties", {}).items():
        need = "" if field in required else " <small>optional</small>"
        yield f"<tr><th>{escape(field)}{need}<td>{_kind(kind)} {escape(kind.get('description', ''))}"
    yield "</table>"


def _content(content: Mapping[str, Any]) -> str:
    return ", ".join(
        f"<code>{escape(media)}</code> {_kind(value['schema'])}" for media, value in content.items()
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    if choices := schema.get("anyOf"):
        return " or ".join(_kind(choice) for choice in choices)
    if "enum" in schema:
        return escape(" | ".join(str(value) for value in schema["enum"]))
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}" if schema["items"] else "list"
    return escape(str(schema.get("type", "any")))
