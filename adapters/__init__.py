"""One narrow protocol to every kind of node, and to the stores."""

from adapters._asking import elapsed_ms, in_reach
from adapters.cache import Cache, LocalCache
from adapters.dicomweb import DicomwebNode, Identities
from adapters.errors import (
    AdapterError,
    KeyTaken,
    NodeError,
    NodeFaulty,
    NodeLate,
    NodeRefused,
    NodeUnreachable,
    StoreError,
    StoreUnavailable,
    VersionTaken,
)
from adapters.fhir import FhirNode
from adapters.fhir_search import Dialect
from adapters.http import PASSED_ON, Line
from adapters.join import join_images
from adapters.node import Answer, Copy, Fault, Match, Node, Question, Report, State
from adapters.peer import PeerAnswer, PeerGateway, PeerKeys, PeerPerson, PeerQuestion, commitment
from adapters.sequencer import Receipt, Sequencer
from adapters.shared import LocalShared, Shared
from adapters.sqlite import SqliteStore
from adapters.store import Committed, Document, Head, Secret, Store
from adapters.transport import Incoming, Limits, Reply, Timeouts, Tls

__all__ = [
    "PASSED_ON",
    "AdapterError",
    "Answer",
    "Cache",
    "Committed",
    "Copy",
    "Dialect",
    "DicomwebNode",
    "Document",
    "Fault",
    "FhirNode",
    "Head",
    "Identities",
    "Incoming",
    "KeyTaken",
    "Limits",
    "Line",
    "LocalCache",
    "LocalShared",
    "Match",
    "Node",
    "NodeError",
    "NodeFaulty",
    "NodeLate",
    "NodeRefused",
    "NodeUnreachable",
    "PeerAnswer",
    "PeerGateway",
    "PeerKeys",
    "PeerPerson",
    "PeerQuestion",
    "Question",
    "Receipt",
    "Reply",
    "Report",
    "Secret",
    "Sequencer",
    "Shared",
    "SqliteStore",
    "State",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "Timeouts",
    "Tls",
    "VersionTaken",
    "commitment",
    "elapsed_ms",
    "in_reach",
    "join_images",
]
