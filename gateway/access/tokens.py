"""OAuth 2 client credentials with ``private_key_jwt`` (RFC 6749, RFC 7523, SMART Backend Services STU2).

A client proves by a signed assertion, which counts once, that it is itself, and gets an access token for some
minutes (RFC 9068): who it is, its scopes and purposes of use (IHE IUA, ``extensions.ihe_iua``), bound to its
certificate where the proxy passed one (RFC 8705). This gateway is issuer and audience in one; nothing is kept
of a token, and what settings say of a client counts at every request.

A CDS client asks for no token: each of its calls carries a JWT of its own, for the address called.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from gateway.access.allowance import Allowance
from gateway.access.client_keys import key_sources
from gateway.access.once import Once
from gateway.access.scopes import Scopes, of_roles, understood
from gateway.errors import NotAuthenticated, SettingsError, TokenNotGiven
from gateway.log import Log
from gateway.settings import ClientSettings, PurposeOfUse, Settings
from security.errors import TokenRefused
from security.jwt import (
    ACCESS_TYPE,
    Assertion,
    jwk_of,
    read_token,
    sign_token,
    verify_access,
    verify_assertion,
    verify_hook_token,
)
from security.keys import PublicKey, Signer

GRANT = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PURPOSES = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_FIELDS = frozenset(
    {"grant_type", "client_assertion_type", "client_assertion", "scope", "client_id", "purpose_of_use"}
)
_LISTED = ", ".join(sorted(_FIELDS))
Keys = Callable[[], Iterable[PublicKey]]


class Granted(Struct, frozen=True, kw_only=True):
    """What an access token says: whose it is, what for, until when, and by which certificate."""

    client: str
    scopes: Scopes
    purposes: tuple[PurposeOfUse, ...]
    ends: float
    certificate: str


def scopes_of(client: ClientSettings) -> Scopes:
    """What a client may be given."""
    return Scopes.read(client.scopes) if client.scopes else of_roles(client.roles)


class Tokens:
    """Gives out access tokens and knows its own again.

    Args:
        signer: the key of purpose ``token`` that signs now.
        keys: the public keys of this gateway; another object whenever they changed.
        once: what remembers the ids of assertions.
        allowance: what counts a client's requests, for tokens too.

    Raises:
        SettingsError: a client's scope is none, or its key set cannot be read.
    """

    def __init__(
        self, settings: Settings, signer: Signer, keys: Keys, once: Once, allowance: Allowance, log: Log
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._listed_keys = keys
        self._once = once
        self._allowance = allowance
        self._log = log
        for client in settings.clients:
            for scope in client.scopes:
                if not understood(scope):
                    raise SettingsError(f"clients: {client.id}: {scope!r} is no scope; see docs/operator.md")
        self._clients = {client.id: client for client in settings.clients}
        self._issuers = {client.cds_issuer: client for client in settings.clients if client.cds_issuer}
        self._sources = key_sources(settings.clients, log)
        self._seen: Iterable[PublicKey] = ()
        self._by_kid: dict[str, PublicKey] = {}
        self.issuer = settings.base_url
        self.endpoint = f"{self.issuer}/oauth/token"

    async def aclose(self) -> None:
        """Close the connections to the clients' key sets."""
        for source in self._sources.values():
            await source.aclose()

    def published(self, now: datetime) -> list[dict[str, str]]:
        """The keys of access tokens that may still be about at ``now`` (aware), as JSON Web Keys."""
        since = now - timedelta(seconds=self._settings.access_token_s)
        return [
            jwk_of(key)
            for key in self.keys().values()
            if key.status != "compromised" and since < key.not_after
        ]

    async def issue(self, form: Mapping[str, str], certificate: str, now: datetime) -> dict[str, Any]:
        """The answer to a token request (RFC 6749 §4.4, §5.1).

        Args:
            form: the parameters of the request, each once.
            certificate: SHA-256 of the certificate that the client came with (base64url), or empty.
            now: aware.

        Raises:
            TokenNotGiven: with the error of RFC 6749 §5.2.
            TooManyRequests: the client has sent too many requests.
            StoreUnavailable: whether the assertion came before cannot be told.
        """
        if unknown := form.keys() - _FIELDS:
            named = "client_secret" if "client_secret" in unknown else "a parameter that is not taken here"
            raise TokenNotGiven("invalid_request", f"{named} was sent; the parameters are {_LISTED}")
        if form.get("grant_type") != GRANT:
            raise TokenNotGiven("unsupported_grant_type", f"grant_type is not {GRANT}")
        client, key = await self._authenticated(form, certificate, now)
        held = scopes_of(client)
        scopes = Scopes.read(form["scope"].split()).within(held) if form.get("scope") else held
        if not scopes.words and not scopes.types:
            raise TokenNotGiven("invalid_scope", f"client {client.id} has none of these; it has {held}")
        purposes = _purposes(client, form.get("purpose_of_use", ""))
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": client.id,
            "client_id": client.id,
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + self._settings.access_token_s,
            "jti": secrets.token_urlsafe(12),
            "scope": str(scopes),
            "extensions": {"ihe_iua": _iua(client, purposes)},
        }
        if certificate:
            claims["cnf"] = {"x5t#S256": certificate}
        signed = sign_token(claims, self._signer)
        given = {"client": client.id, "scope": str(scopes), "purposes": " ".join(purposes), "key": key}
        self._log("token_given", **given)
        return {
            "access_token": signed,
            "token_type": "Bearer",
            "expires_in": self._settings.access_token_s,
            "scope": str(scopes),
        }

    def accept(self, text: str, now: datetime) -> Granted:
        """What an access token of this gateway says.

        Raises:
            NotAuthenticated: it is none, or does not count any more.
        """
        try:
            token = read_token(text)
            claims = verify_access(token, self.keys(), issuer=self.issuer, audience=self.issuer, now=now)
        except TokenRefused as wrong:
            raise NotAuthenticated(f"the access token does not count: {wrong}") from None
        return Granted(
            client=claims["sub"],
            scopes=Scopes.read(claims["scope"].split()),
            purposes=tuple(one["code"] for one in claims["extensions"]["ihe_iua"]["purpose_of_use"]),
            ends=claims["exp"],
            certificate=claims.get("cnf", {}).get("x5t#S256", ""),
        )

    async def accept_hook(
        self, text: str, path: str, now: datetime
    ) -> tuple[ClientSettings, Assertion] | None:
        """The CDS client that signed this JWT for one call of a service (CDS Hooks 2.0, Trusting CDS
        Clients), and what is to count once; None where it is none of a CDS client's, but may be an access
        token.

        Raises:
            NotAuthenticated: it does not count for the service at ``path``.
        """
        service = f"{self.issuer}{path}"
        try:
            token = read_token(text)
            if token.header.get("typ") == ACCESS_TYPE:
                return None
            issuer = token.claims.get("iss")
            client = self._issuers.get(issuer) if isinstance(issuer, str) else None
            if client is None:
                raise TokenRefused("iss", "is no CDS client here")
            verified = verify_hook_token(
                token,
                await self._sources[client.id].get(token.kid),
                issuer=client.cds_issuer,
                audiences=(service, service.removesuffix("/feedback")),
                now=now,
                jku=client.jwks_url,
            )
        except TokenRefused as wrong:
            raise NotAuthenticated(f"the JWT of a CDS client does not count: {wrong}") from None
        return client, verified

    async def refuse_repeated(self, client: str, hook: Assertion) -> None:
        """Let the JWT of a CDS client's call count now, and never again.

        Raises:
            NotAuthenticated: it came before.
            StoreUnavailable: whether it came before cannot be told.
        """
        if not await self._once.first(f"hook {client}", hook.jti, hook.until):
            raise NotAuthenticated(f"the JWT of CDS client {client} came before: its jti was used")

    def keys(self) -> dict[str, PublicKey]:
        """The own keys for tokens by their ids; another object whenever they changed."""
        listed = self._listed_keys()
        if listed is not self._seen:
            self._seen = listed
            self._by_kid = {key.kid: key for key in listed if key.purpose == "token"}
        return self._by_kid

    async def _authenticated(
        self, form: Mapping[str, str], certificate: str, now: datetime
    ) -> tuple[ClientSettings, str]:
        """The client of an assertion, and the id of the key that signed it."""
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise TokenNotGiven("invalid_client", f"client_assertion_type is not {ASSERTION_TYPE}")
        try:
            token = read_token(form.get("client_assertion", ""))
            named = token.claims.get("sub")
            client = self._clients.get(named) if isinstance(named, str) else None
            source = self._sources.get(client.id) if client else None
            if client is None or source is None:
                raise TokenRefused("sub", "is no client that may sign assertions here")
            if form.get("client_id", client.id) != client.id:
                raise TokenRefused("client_id", "is another client than the assertion's")
            assertion = verify_assertion(
                token,
                await source.get(token.kid),
                client=client.id,
                audiences=(self.endpoint, self.issuer),
                now=now,
                jku=client.jwks_url,
            )
        except TokenRefused as wrong:
            raise TokenNotGiven("invalid_client", f"client_assertion: {wrong}") from None
        if client.certificates and certificate not in client.certificates:
            raise TokenNotGiven("invalid_client", f"client {client.id} came without its certificate")
        await self._allowance.spend(client.id, client.requests_per_minute)
        if not await self._once.first(f"assertion {client.id}", assertion.jti, assertion.until):
            raise TokenNotGiven("invalid_client", f"client_assertion: jti of {client.id} was used before")
        return client, token.kid


def _purposes(client: ClientSettings, asked: str) -> list[str]:
    """The purposes that were asked for, all of which the client must have; the first is what requests are
    for, unless they say otherwise."""
    codes = [code.removeprefix(f"{PURPOSES}|") for code in asked.split()]
    if set(codes) - set(client.purposes):
        held = " ".join(client.purposes)
        raise TokenNotGiven("invalid_scope", f"purpose_of_use: client {client.id} has {held} and no other")
    return codes or list(client.purposes)


def _iua(client: ClientSettings, purposes: list[str]) -> dict[str, Any]:
    """The extension of IHE IUA (ITI-71): for which organisation, and what for."""
    told: dict[str, Any] = {"purpose_of_use": [{"system": PURPOSES, "code": code} for code in purposes]}
    if client.institution:
        told["subject_organization_id"] = f"urn:lianren:institution:{client.institution}"
    return told
