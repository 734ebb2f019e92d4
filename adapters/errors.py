"""Errors of the adapters, as they become node states and refusals.

AdapterError
├── NodeError               a node did not give a usable answer; its class is the node state
│   ├── NodeUnreachable     no connection
│   ├── NodeLate            connected, but not answered in time
│   ├── NodeRefused         the node said no (4xx, 501)
│   │   └── NodeMissing     there is nothing at this address (404, 410)
│   └── NodeFaulty          the node answered, and the answer cannot be used
└── StoreError              the store of this gateway
    ├── StoreUnavailable    nothing could be written or read: evidence cannot be kept
    ├── KeyTaken            a document with this key exists already
    └── VersionTaken        another version of a held resource stands there than was expected
"""

from __future__ import annotations


class AdapterError(Exception):
    """Base of everything that an adapter raises."""


class NodeError(AdapterError):
    """A node did not give a usable answer. ``detail`` is one sentence without any patient data."""

    state = "faulty"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NodeUnreachable(NodeError):
    """No connection: refused, no route, TLS failed."""

    state = "unreachable"


class NodeLate(NodeError):
    """The node did not answer within its time or the question's."""

    state = "late"


class NodeRefused(NodeError):
    """The node answered with a client error: it will not answer this gateway this question."""

    state = "refused"


class NodeMissing(NodeRefused):
    """The node has nothing at the address that it was asked for, or no longer."""


class NodeFaulty(NodeError):
    """The node's answer cannot be used: an error page, another person's data, a broken body."""

    state = "faulty"


class StoreError(AdapterError):
    """Base of the store's errors."""


class StoreUnavailable(StoreError):
    """Nothing could be written or read; what was asked to be kept is not kept."""


class KeyTaken(StoreError):
    """A document of this kind and key exists already; nothing of the write was kept."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"a {kind} with this key exists already")
        self.kind = kind
        self.key = key


class VersionTaken(StoreError):
    """Another version stands at a place of a node than was expected; nothing of the write was kept."""

    def __init__(self, node: str, id: str) -> None:  # noqa: A002 - the field's own name
        super().__init__(f"another version of {id} stands at {node} than was expected")
        self.node = node
        self.id = id
