"""The nodes of a running gateway: built from the settings, and changed at run time."""

from gateway.nodes.building import Parts, adapter, authorization_of, build, dialect_of, line_of, tls_of
from gateway.nodes.changing import Changes, Standing, Step
from gateway.nodes.nodes import Nodes
from gateway.nodes.placed import Placed, Unusable

__all__ = [
    "Changes",
    "Nodes",
    "Parts",
    "Placed",
    "Standing",
    "Step",
    "Unusable",
    "adapter",
    "authorization_of",
    "build",
    "dialect_of",
    "line_of",
    "tls_of",
]
