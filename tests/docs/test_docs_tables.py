"""The tables of the pages say what the code says."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from starlette.exceptions import HTTPException
from typer.testing import CliRunner

from catalog import FACTS, load
from catalog._sheets import HEAD, TABLES
from gateway.body import BadBody
from gateway.cli import app
from gateway.demo.network import GATEWAYS, Network
from gateway.demo.show import FIRST_PORT
from gateway.errors import INTERNAL, TABLE
from gateway.faces.common import routing_failure
from gateway.log import EVENTS
from gateway.metrics import Metrics
from gateway.settings import (
    ClientSettings,
    DialectSettings,
    NodeSettings,
    PinSettings,
    RetentionSettings,
    Settings,
)
from recognition.flags import FLAGS
from tests.docs import rules_page
from tests.docs.pages import PAGES, ROOT, name_of, table

OPERATOR, STEWARD, ERRORS, HIS = (
    ROOT / f"docs/{name}.md" for name in ("operator", "steward", "errors", "his")
)
CATALOGUE = load()
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
_COMMAND = re.compile(r"lianren ((?:[a-z]+ ?){1,2})([^`|&;#\n]*)")


def words_of(field: FieldInfo) -> str:
    """The type of a setting, as the operator's page writes it."""
    kind: Any = field.annotation
    if get_origin(kind) is list:
        inner = get_args(kind)[0]
        if get_origin(inner) is Literal:
            return f"list of {' · '.join(get_args(inner))}"
        return "list" if inner is str else "tables"
    if get_origin(kind) is Literal:
        return " · ".join(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "table"
    plain = _PLAIN[next(part for part in (kind, *get_args(kind)) if part in _PLAIN)]
    bounds = {name: getattr(m, name) for m in field.metadata for name in ("ge", "le") if hasattr(m, name)}
    if bounds:
        plain += f", {bounds['ge']} to {bounds['le']}" if "le" in bounds else f", at least {bounds['ge']}"
    return plain


def default_of(field: FieldInfo) -> str:
    """The default of a setting, as the operator's page writes it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, list) and default:
        return " · ".join(default)
    unset = default in ("", None, []) or isinstance(default, BaseModel)
    return "–" if unset else str(default).lower() if default is False else str(default)


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("### The gateway", Settings),
        ("### Nodes", NodeSettings),
        ("### Dialects", DialectSettings),
        ("### Clients", ClientSettings),
        ("### Pins", PinSettings),
        ("### Retention", RetentionSettings),
    ],
)
def test_every_setting_is_documented_as_it_is(heading: str, model: type[BaseModel]) -> None:
    assert table(OPERATOR, heading) == [
        (name, words_of(field), default_of(field), (field.description or "").replace("`", ""))
        for name, field in model.model_fields.items()
    ]


def test_every_log_event_is_documented_with_its_fields() -> None:
    documented = {event: set(fields.split(", ")) for event, fields, _ in table(OPERATOR, "## Log")}
    assert documented == {event: set(fields) for event, fields in EVENTS.items()}


def test_every_metric_is_documented_with_its_meaning() -> None:
    documented = {name.removesuffix("_total"): meaning for name, _, meaning in table(OPERATOR, "## Metrics")}
    families = text_string_to_metric_families(Metrics().render().decode())
    declared = {family.name: family.documentation for family in families}
    assert documented == {
        name: meaning for name, meaning in declared.items() if not name.endswith("_created")
    }


@pytest.mark.slow
@pytest.mark.xdist_group("network")
def test_metrics_carry_the_labels_that_are_documented(network: Network) -> None:
    gateway = network.gateways["sc"]
    httpx.get(f"{gateway.url}/no-such-route", trust_env=False)
    documented = {
        name.removesuffix("_total"): set(labels.split(", ")) - {"–"}
        for name, labels, _ in table(OPERATOR, "## Metrics")
    }
    text = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    seen = {
        family.name: set(sample.labels) - {"le"}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not family.name.endswith("_created")
    }
    assert seen.items() <= documented.items()


def test_every_error_code_is_documented_with_status_and_fault() -> None:
    router = [routing_failure(HTTPException(status)).row for status in (404, 405)]
    declared = [*TABLE.values(), *router, INTERNAL]
    documented = [(code, int(status), fault, issue) for code, status, fault, issue, *_ in _codes()]
    assert documented == [(row.code, row.status, row.fault, row.issue) for row in declared]


def test_every_error_code_says_what_happened_and_what_to_do() -> None:
    assert all(happened and todo for *_, happened, todo in _codes())


def test_every_status_of_an_unreadable_body_is_documented() -> None:
    declared = re.findall(r"\b4\d\d\b", BadBody.__doc__ or "")
    assert [status for status, *_ in table(ERRORS, "## When the body cannot be read")] == declared


def test_the_page_of_rules_is_the_one_that_the_catalogue_gives() -> None:
    assert rules_page.PAGE.read_text(encoding="utf-8") == rules_page.page()


def test_every_rule_and_every_fact_has_a_row_on_the_page_of_rules() -> None:
    headings = ("## Steps of the decision", "## Level rules", "## Negative list", "## Facts")
    shown = [row[0] for heading in headings for row in table(rules_page.PAGE, heading)]
    assert sorted(shown) == sorted([*CATALOGUE.rules, *FACTS])


def test_every_table_of_an_edition_is_documented() -> None:
    documented = {file for file, *_ in table(STEWARD, "## The folder")}
    assert documented == {HEAD, *(table.file for table in TABLES)}


def test_every_reason_code_is_documented() -> None:
    yes_no = {True: "yes", False: "no"}
    assert table(HIS, "### Reason codes") == [
        (code.system, code.code, code.zh, yes_no[code.counts_as_refusal], yes_no[code.needs_text])
        for code in CATALOGUE.reason_codes.values()
    ]


def test_the_readme_names_the_ports_of_the_demonstration() -> None:
    ports = {owner: FIRST_PORT + place for place, owner in enumerate(GATEWAYS)}
    shown = dict(
        re.findall(r"(GATEWAY|ISSUER)=http://127.0.0.1:(\d+)", (ROOT / "README.md").read_text("utf-8"))
    )
    assert shown == {"GATEWAY": str(ports["sc"]), "ISSUER": str(ports["cq"])}


def test_every_command_is_documented() -> None:
    documented = {command for command, _ in table(OPERATOR, "## Commands")}
    assert documented == {f"lianren {' '.join(words)}" for words in _commands()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_on_a_page_has_the_options_that_it_is_given(page: Path) -> None:
    commands = {" ".join(words) for words in _commands()}
    for found in _COMMAND.finditer(re.sub(r"\\\n", " ", page.read_text(encoding="utf-8"))):
        words = found[1].split()
        command = next((c for c in (" ".join(words), words[0]) if c in commands), None)
        if options := re.findall(r"(?<!\S)--?[a-z][a-z-]*", found[2]):
            assert command, f"{found[0]} is no command"
            told = _help(*command.split())
            assert [option for option in options if option not in told] == [], found[0]


def _codes() -> list[tuple[str, ...]]:
    return table(ERRORS, "## Codes")


@cache
def _help(*words: str) -> str:
    return CliRunner().invoke(app, [*words, "--help"]).output


def _commands(words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All commands, as their helps list them."""
    told = _help(*words)
    names = re.findall(r"^  ([a-z]+) ", told.partition("\nCommands:\n")[2], re.MULTILINE)
    return [path for name in names for path in _commands((*words, name))] or [words]


def test_every_flag_is_documented_in_its_words() -> None:
    assert table(STEWARD, "## Flags") == [(flag, zh, en) for flag, (zh, en) in FLAGS.items()]


def test_every_flag_that_is_set_has_words() -> None:
    rooms = [path for room in ("adapters", "gateway", "quality") for path in (ROOT / room).rglob("*.py")]
    dimension = "timeliness|consistency|completeness|accuracy|continuity|performed|reported"
    found = re.compile(rf'"((?:{dimension}):[a-z-]+)"')
    assert {
        flag for path in rooms for flag in found.findall(path.read_text(encoding="utf-8"))
    } <= FLAGS.keys()
