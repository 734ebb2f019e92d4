"""Who asks: clients by bearer token, their certificates, what they may do, and how often.

A client comes with an access token that it got for a signed assertion (:mod:`gateway.access.tokens`), with a
fixed token of which only the SHA-256 is configured, so that no file holds one, or, as a CDS client, with a
JWT for this very call. Whatever it comes with, what settings say of it counts at every request: institution,
roles, certificates, rate.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote

from msgspec import Struct

from gateway.access.allowance import Allowance
from gateway.access.once import Once
from gateway.access.scopes import OF_ROLE, Scopes, needed
from gateway.access.tokens import Tokens, scopes_of
from gateway.errors import NotAuthenticated, NotPermitted
from gateway.settings import ClientSettings, PurposeOfUse, Role, Settings
from security import jwt
from security.jwt import Assertion
from security.keys import PublicKey, to_base64url

KEPT = 4096
"""How many access tokens are known to be good without being verified again."""


class Client(Struct, frozen=True, kw_only=True):
    """A system that was recognised, and the institution it speaks for.

    Attributes:
        purpose: what for it asks, unless a request says otherwise.
        purposes: what it may ask for.
        owner: for another gateway, whose keys must have signed its requests; empty where none must.
    """

    id: str
    institution: str
    roles: tuple[Role, ...]
    scopes: Scopes
    purpose: PurposeOfUse
    purposes: tuple[PurposeOfUse, ...]
    owner: str = ""
    per_minute: int

    def require(self, *roles: Role) -> None:
        """Raises:
        NotPermitted: the client has none of these roles; the message names them.
        """
        if not set(roles) & set(self.roles):
            wanted = " or ".join(roles)
            raise NotPermitted(f"client {self.id} has not the role {wanted}; its operator can grant it")

    def permit(self, type_: str, letter: str) -> None:
        """Whether it may do something with a FHIR type: ``c``, ``r``, ``u``, ``d`` or ``s`` (SMART 2).

        Raises:
            NotPermitted: it has no such scope; the message names it.
        """
        if not self.scopes.permits(type_, letter):
            raise self._lacks(f"system/{type_}.{letter}")

    def pass_through(self, method: str, path: str) -> None:
        """Whether its scopes let a request in. Raises NotPermitted."""
        word, letter = needed(method, path)
        if letter:
            self.permit(word, letter)
        elif word and word not in self.scopes.words:
            raise self._lacks(f"lianren/{word}")

    def _lacks(self, scope: str) -> NotPermitted:
        having = " or ".join(f"role {role}" for role, held in OF_ROLE.items() if scope in held.split())
        hint = f" ({having} has it)" if having else ""
        return NotPermitted(f"client {self.id} has not the scope {scope}{hint}", scope=scope)


class _Known(Struct, frozen=True):
    """A client by the digest of its token: the certificates of which one must come along, if any, and until
    when the token counts."""

    client: Client
    certificates: tuple[str, ...]
    ends: float = float("inf")


class Clients:
    """The known clients, and everything by which one is recognised.

    Args:
        tokens: gives out access tokens and knows them again.
        once: remembers what counts once.
        allowance: counts requests.
    """

    def __init__(self, settings: Settings, tokens: Tokens, once: Once, allowance: Allowance) -> None:
        self.tokens = tokens
        self.once = once
        self.allowance = allowance
        self._settings = {client.id: client for client in settings.clients}
        self._fixed = {
            bytes.fromhex(client.token_sha256): _known(client)
            for client in settings.clients
            if client.token_sha256
        }
        self._good: dict[bytes, _Known] = {}
        self._keys: dict[str, PublicKey] = {}
        self._header = settings.client_certificate_header.lower().encode() if settings.uds else b""

    def start(self) -> None:
        """Begin to forget what has ended, and import beside the loop what a request would wait for."""
        self.once.start()
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self.allowance.load)
        if any(client.jwks_url for client in self._settings.values()):  # key sets in files were read by now
            loop.run_in_executor(None, jwt.load)

    async def aclose(self) -> None:
        """Close connections, stop forgetting."""
        await self.once.aclose()
        await self.tokens.aclose()
        await self.allowance.aclose()

    def authenticate(self, authorization: str, certificate: str = "") -> Client:
        """The client of an ``Authorization: Bearer …`` header (RFC 6750).

        ``certificate``: SHA-256 (base64url) of the certificate that the proxy saw, or empty.

        Raises:
            NotAuthenticated: another scheme, an unknown token, or one that is bound to another certificate.
        """
        text, digest = _bearer(authorization)
        return _bound(self._fixed.get(digest) or self._by_access_token(text, digest), certificate)

    async def authenticate_hook(
        self, authorization: str, certificate: str, path: str
    ) -> tuple[Client, Assertion | None]:
        """:meth:`authenticate` for a call of CDS Hooks at ``path``: the JWT of a CDS client counts too. It is
        still to be told apart from a repeated one (:meth:`Tokens.refuse_repeated`), which costs a write: by
        then its request is counted.

        Raises:
            NotAuthenticated: as there, or the JWT does not count for this service.
        """
        text, digest = _bearer(authorization)
        known = self._fixed.get(digest)
        if known is None and text.count(".") == 2:
            accepted = await self.tokens.accept_hook(text, path, datetime.now(UTC))
            if accepted is not None:
                return _bound(_known(accepted[0]), certificate), accepted[1]
        return _bound(known or self._by_access_token(text, digest), certificate), None

    def _by_access_token(self, text: str, digest: bytes) -> _Known:
        """Verified once, then known until it ends; when the own keys change, nothing is known any more."""
        now, keys = datetime.now(UTC), self.tokens.keys()
        if keys is not self._keys:
            self._keys = keys
            self._good.clear()
        if (good := self._good.get(digest)) and good.ends > now.timestamp():
            return good
        if text.count(".") != 2:
            raise NotAuthenticated("nobody here knows the token")
        granted = self.tokens.accept(text, now)
        settings = self._settings.get(granted.client)
        if settings is None:
            raise NotAuthenticated(f"client {granted.client} of the access token is not configured any more")
        purposes = tuple(purpose for purpose in granted.purposes if purpose in settings.purposes)
        if not purposes:
            raise NotAuthenticated(f"client {settings.id} lost the purposes that the access token is for")
        client = _client(settings, granted.scopes.within(scopes_of(settings)), purposes)
        bound = tuple(settings.certificates)
        if granted.certificate:
            if bound and granted.certificate not in bound:
                raise NotAuthenticated(f"client {client.id} lost the certificate that the token is bound to")
            bound = (granted.certificate,)
        self._good[digest] = good = _Known(client, bound, granted.ends)
        if len(self._good) > KEPT:
            del self._good[next(iter(self._good))]
        return good

    def certificate(self, headers: list[tuple[bytes, bytes]], peer: object) -> str:
        """SHA-256 (base64url) of the client's certificate that the proxy passed; empty where it passed none.

        The header counts only over the Unix socket, where nobody but the proxy can write (``peer`` is None
        there); to anybody else it is any header.

        Raises:
            NotAuthenticated: it holds no certificate.
        """
        if not self._header or peer is not None:
            return ""
        passed = b"".join(value for name, value in headers if name == self._header)
        return thumbprint(passed) if passed else ""


def _bearer(authorization: str) -> tuple[str, bytes]:
    """The token of the header, and its digest. Raises NotAuthenticated."""
    scheme, _, text = authorization.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        raise NotAuthenticated("there is no Authorization: Bearer header, or it is empty")
    return text, hashlib.sha256(text.encode("latin-1", "replace")).digest()


def _bound(known: _Known, certificate: str) -> Client:
    """The client, which came with the certificate that it must come with. Raises NotAuthenticated."""
    if known.certificates and certificate not in known.certificates:
        raise NotAuthenticated(f"client {known.client.id} came without the certificate it is bound to")
    return known.client


def _known(settings: ClientSettings) -> _Known:
    """A client that came with no access token: it has all that settings give it."""
    client = _client(settings, scopes_of(settings), tuple(settings.purposes))
    return _Known(client, tuple(settings.certificates))


def _client(settings: ClientSettings, scopes: Scopes, purposes: tuple[PurposeOfUse, ...]) -> Client:
    return Client(
        id=settings.id,
        institution=settings.institution,
        roles=tuple(settings.roles),
        scopes=scopes,
        purpose=purposes[0],
        purposes=purposes,
        owner=settings.owner,
        per_minute=settings.requests_per_minute,
    )


@lru_cache(1024)
def thumbprint(escaped: bytes) -> str:
    """``x5t#S256`` (RFC 8705 §3.1) of a certificate in URL-encoded PEM, as nginx passes it.

    Raises:
        NotAuthenticated: it is none.
    """
    try:
        der = ssl.PEM_cert_to_DER_cert(unquote(escaped.decode("ascii")))
    except ValueError:  # UnicodeDecodeError and binascii.Error are ValueErrors
        raise NotAuthenticated("what the proxy passed is no certificate in URL-encoded PEM") from None
    return to_base64url(hashlib.sha256(der).digest())
