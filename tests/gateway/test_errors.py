"""The table of errors: every class of the house is answered on purpose, in one shape a face."""

from __future__ import annotations

import http
import importlib
import pkgutil
from collections.abc import Iterator

import httpx
import pytest

from adapters.errors import AdapterError
from catalog import CatalogueError
from gateway.body import BadBody
from gateway.errors import INTERNAL, TABLE, GatewayError, failure_of
from security.errors import KeyStoreError, TrustError
from tests.gateway.live import Live

BASES = (GatewayError, AdapterError, TrustError, CatalogueError, BadBody)
NEVER_ANSWERED = {
    "SettingsError": "the process does not start",
    "StoreError": "the store does not open, and the process does not start",
    "VersionTaken": "becomes a conflict on the shelf, and that a failed precondition",
    "KeyStoreError": "the keys do not open, and the process does not start",
    "ConditionRefused": "becomes a finding of a catalogue",
    "BulkRefused": "one line of the command line",
    "UnsupportedAlgorithm": "the keys do not open, and the process does not start",
    "UnknownKey": "becomes the state of a mark",
    "KeyNotValid": "becomes the state of a mark",
    "MarkRefused": "becomes the state of a mark",
    "StatusRefused": "is a line in the log: the held list goes on",
    "SignatureRefused": "becomes the state of a mark",
    "TokenRefused": "becomes NotAuthenticated, or a refusal of the token endpoint",
    "PayloadRefused": "a fault of this gateway: answered as TrustError",
    "WitnessRefused": "is answered as C2SP tlog-witness says",
    "Conflict": "is answered as C2SP tlog-witness says",
    "Stale": "is answered as C2SP tlog-witness says",
    "KeyListRefused": "is a line in the log: the held list goes on",
    "LedgerRefused": "becomes a failed check, or is NotFound at the ledger's face",
    "NodeUnreachable": "becomes the state of a node",
    "Lost": "the bridge asks again over another association",
    "NodeLate": "becomes the state of a node",
    "NodeRefused": "becomes the state of a node",
    "NodeMissing": "becomes the state of a node, or that it has nothing there",
    "NodeFaulty": "becomes the state of a node",
}
"""What has no row of its own, and why it needs none."""


def classes() -> Iterator[type[Exception]]:
    """Every exception class that a room below the faces defines."""
    for room in ("adapters", "catalog", "gateway", "security"):
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            if any(part in module.name for part in (".demo", ".commands", ".migrations.")):
                continue
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, BASES) and value.__module__ == module.name:
                    yield value


@pytest.mark.parametrize("kind", sorted(set(classes()), key=repr))
def test_a_class_has_a_row_of_its_own_or_a_reason_to_need_none(kind: type[Exception]) -> None:
    assert (kind in TABLE) != (kind.__name__ in NEVER_ANSWERED)


def test_no_two_rows_have_one_code() -> None:
    codes = [row.code for row in (*TABLE.values(), INTERNAL)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", TABLE)
def test_a_status_says_whose_fault_it_was(kind: type[Exception]) -> None:
    row = TABLE[kind]
    assert (row.status < 500) == (row.fault == "caller")
    assert http.HTTPStatus(row.status).phrase


def test_what_has_no_row_tells_nothing_of_itself() -> None:
    failure = failure_of(LookupError("990000196803140021"))
    assert failure.row.code == "internal"
    assert "990000" not in failure.message


@pytest.mark.parametrize("kind", [TrustError, KeyStoreError, CatalogueError, GatewayError])
def test_a_fault_of_this_gateway_tells_no_file_token_or_row(kind: type[Exception]) -> None:
    failure = failure_of(kind("/var/lib/lianren/keys/cq-mark-202611a.json"))
    assert failure.row.status == 500
    assert "lianren/keys" not in failure.message


@pytest.mark.parametrize("path", ["/", "/nowhere", "/api/v1/nothing", "/cds-services/another", "/ledger/x"])
def test_an_unknown_address_is_a_problem(gateway: Live, path: str) -> None:
    answer = gateway.client().get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "no-such-route"


def test_an_unknown_address_of_fhir_is_an_operation_outcome(gateway: Live) -> None:
    answer = gateway.client().get("/fhir/Nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/fhir+json")
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_wrong_method_says_which_are_right(gateway: Live) -> None:
    answer = gateway.client().delete("/api/v1/checks")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert "POST" in answer.headers["allow"]  # RFC 9110 section 15.5.6


def test_a_caller_finds_its_request_again_by_its_own_id(gateway: Live) -> None:
    answer = gateway.client().get("/nowhere", headers={"X-Request-Id": "order-17"})
    assert answer.headers["x-request-id"] == answer.json()["request"] == "order-17"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "示例".encode().decode("latin-1"), "a;b"])
def test_an_id_that_could_hold_anything_is_replaced(gateway: Live, given: str) -> None:
    headers = [(b"X-Request-Id", given.encode("latin-1"))]
    answer: httpx.Response = gateway.client().get("/nowhere", headers=headers)
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32
