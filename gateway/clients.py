"""Who may ask: clients by bearer token. Only the token's SHA-256 is configured, so no file holds a token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from msgspec import Struct

from gateway.errors import NotAuthenticated, NotPermitted
from gateway.settings import ClientSettings, Role


class Client(Struct, frozen=True):
    """A system that was recognised by its token, and the institution it speaks for."""

    id: str
    institution: str
    roles: tuple[Role, ...]

    def require(self, *roles: Role) -> None:
        """Raises:
        NotPermitted: the client has none of these roles; the message names them.
        """
        if not set(roles) & set(self.roles):
            wanted = " or ".join(roles)
            raise NotPermitted(f"client {self.id} has not the role {wanted}; its operator can grant it")


class Clients:
    """The known clients."""

    def __init__(self, settings: Sequence[ClientSettings]) -> None:
        self._by_digest = {c.token_sha256: Client(c.id, c.institution, tuple(c.roles)) for c in settings}

    def authenticate(self, authorization: str | None) -> Client:
        """The client of an ``Authorization: Bearer …`` header (RFC 6750).

        Raises:
            NotAuthenticated: no header, another scheme, or an unknown token; which of them is not told apart.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            digest = hashlib.sha256(token.strip().encode()).hexdigest()
            for known, client in self._by_digest.items():
                if hmac.compare_digest(known, digest):
                    return client
        raise NotAuthenticated("send the bearer token that this gateway's operator gave out for your system")
