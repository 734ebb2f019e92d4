"""One question, many nodes, one honest answer in time."""

from gateway.broker.broker import Broker
from gateway.broker.lane import LaneState
from gateway.broker.memory import Memory
from gateway.broker.round import Gathered
from gateway.broker.watching import Watching

__all__ = ["Broker", "Gathered", "LaneState", "Memory", "Watching"]
