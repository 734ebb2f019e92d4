"""HTTP/1.1 to one origin: connections on asyncio.Protocol, llhttp as the parser, strict about framing.

``terms``, what a pool is given; ``request``, the bytes that leave; ``connection``, one question and the
reading of its ``answer``; ``opening``, TCP, TLS and proxies; ``pool``, who may use which connection;
``json_text``, what a JSON answer must be; ``httpx_api``, the same pool behind httpx's interface.
"""

from adapters.transport.answer import Incoming, Reply
from adapters.transport.json_text import JSON_TYPES, json_text, refuse_deep
from adapters.transport.pool import Pool
from adapters.transport.terms import Limits, Origin, Timeouts, Tls

__all__ = [
    "JSON_TYPES",
    "Incoming",
    "Limits",
    "Origin",
    "Pool",
    "Reply",
    "Timeouts",
    "Tls",
    "json_text",
    "refuse_deep",
]
