"""One narrow protocol to every kind of node, and to the stores."""

from adapters._asking import elapsed_ms
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
)
from adapters.fhir import FhirNode
from adapters.http import Limits, Line, Reply, Timeouts
from adapters.join import join_images
from adapters.node import Answer, Fault, Node, Question, Report, State
from adapters.peer import PeerAnswer, PeerGateway, PeerKeys, PeerPerson, PeerQuestion, commitment
from adapters.sequencer import Receipt, Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Committed, Document, Head, Secret, Store

__all__ = [
    "AdapterError",
    "Answer",
    "Cache",
    "Committed",
    "DicomwebNode",
    "Document",
    "Fault",
    "FhirNode",
    "Head",
    "Identities",
    "KeyTaken",
    "Limits",
    "Line",
    "LocalCache",
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
    "SqliteStore",
    "State",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "Timeouts",
    "commitment",
    "elapsed_ms",
    "join_images",
]
