"""What a pool is given: one origin, a time for each phase, bounds, and how TLS is verified."""

from __future__ import annotations

import re
import ssl
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from adapters.errors import NodeUnreachable

_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(
    r"(https?)://(?:([0-9A-Za-z._-]+)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?"
    r'(?:/[!-"$->@-~]*)?'  # visible ASCII without "?" and "#"
)


class Timeouts(Struct, frozen=True, kw_only=True):
    """Seconds: for each phase of a call, and for the whole of it.

    ``connect`` includes the TLS handshake; ``write`` is the sending of the request; ``first_byte`` runs from
    there to the first byte of the answer; ``between_bytes`` from one piece of the answer to the next.
    """

    connect: float = 1.0
    write: float = 5.0
    first_byte: float = 5.0
    between_bytes: float = 2.0
    total: float = 10.0

    @classmethod
    def within(cls, seconds: float) -> Timeouts:
        """Every phase inside this total."""
        return cls(
            connect=min(1.0, seconds),
            write=seconds,
            first_byte=seconds,
            between_bytes=seconds,
            total=seconds,
        )


class Limits(Struct, frozen=True, kw_only=True):
    """How many connections at once, how many calls may wait for one, how many bytes one answer may have.

    One question can be many calls: an archive is asked about each series of a study at the same time.
    """

    connections: int = 16
    waiting: int = 1024
    body: int = 8 * 1024 * 1024


class Tls(Struct, frozen=True, kw_only=True):
    """Whose certificates are believed, in place of the system's, and the certificate shown to the other side.

    The files are PEM. They are read when a connection is made, and again when they have changed, so that a
    renewed certificate is taken up without a restart. The host name is always verified.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, by these files as they are now.

        Raises:
            NodeUnreachable: a file cannot be read or holds nothing that fits.
        """
        files = (self.ca_file, self.certificate_file, self.certificate_key_file)
        try:
            return _context(self, tuple(file.stat().st_mtime_ns if file else 0 for file in files))
        except (OSError, ssl.SSLError):
            raise NodeUnreachable("the certificate files for it cannot be read: see the settings") from None


class Origin(Struct, frozen=True):
    """Scheme, host and port (RFC 6454) of the one place that a pool speaks to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of a base address: in visible ASCII, without credentials, query or fragment.

        Raises:
            NodeUnreachable: it is none.
        """
        parts = _ADDRESS.fullmatch(url)
        port = int(parts[4] or _PORTS[parts[1]]) if parts else 0
        if not parts or not 0 < port < 65536:
            raise NodeUnreachable("its address is not http(s)://host[:port]/path: see the settings")
        return cls(parts[1], (parts[2] or parts[3]).lower(), port)

    @property
    def authority(self) -> str:
        """``host:port`` with IPv6 in brackets, as CONNECT names it (RFC 9110 §7.1)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The authority without the scheme's own port (RFC 9110 §7.2)."""
        own = f":{_PORTS[self.scheme]}"
        return self.authority.removesuffix(own) if self.port == _PORTS[self.scheme] else self.authority


@lru_cache(maxsize=256)  # reading the system's certificates takes milliseconds
def _context(tls: Tls, changed: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.certificate_file:
        # A key under a passphrase fails: nobody is there to be asked for it.
        context.load_cert_chain(tls.certificate_file, tls.certificate_key_file, password=lambda: "")
    return context
