"""A SMART backend client as a vendor would write one: joserfc, a form, a bearer token."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN = "/oauth/token"


class Backend:
    """A system with a key of its own, at one gateway.

    Attributes:
        key: what it signs with.
        endpoint: the address of the token endpoint as the gateway tells it.
    """

    def __init__(self, name: str, key: ECKey | RSAKey, http: httpx.Client, endpoint: str = "") -> None:
        self.name = name
        self.key = key
        self.http = http
        self.endpoint = endpoint or http.get("/fhir/.well-known/smart-configuration").json()["token_endpoint"]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a new assertion; a value of None takes one away."""
        right = {
            "iss": self.name,
            "sub": self.name,
            "aud": self.endpoint,
            "exp": int(time.time()) + 240,
            "jti": uuid.uuid4().hex,
        }
        return {name: value for name, value in (right | changed).items() if value is not None}

    def assertion(self, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A new assertion, signed."""
        algorithm = algorithm_of(self.key)
        right = {"alg": algorithm, "kid": self.key.kid, "typ": "JWT"}
        return jwt.encode(right | (header or {}), self.claims(**changed), self.key, [algorithm])

    def ask(self, assertion: str = "", **form: Any) -> httpx.Response:
        """The answer of the token endpoint."""
        right = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION,
            "client_assertion": assertion or self.assertion(),
        }
        sent = {name: value for name, value in (right | form).items() if value is not None}
        return self.http.post(TOKEN, data=sent)

    def token(self, **form: Any) -> str:
        """An access token."""
        answer = self.ask(**form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def bearer(self, **form: Any) -> dict[str, str]:
        """The header with an access token."""
        return {"Authorization": f"Bearer {self.token(**form)}"}


def algorithm_of(key: ECKey | RSAKey) -> str:
    """What SMART asks of everybody: RS384 or ES384."""
    return "RS384" if isinstance(key, RSAKey) else "ES384"


def new_key(kid: str, *, rsa: bool = False) -> ECKey | RSAKey:
    """A key with an id."""
    return RSAKey.generate_key(2048, {"kid": kid}) if rsa else ECKey.generate_key("P-384", {"kid": kid})


def key_set(*keys: ECKey | RSAKey) -> bytes:
    """The key set of a client."""
    return json.dumps({"keys": [{**key.as_dict(private=False), "use": "sig"} for key in keys]}).encode()


def written(file: Path, *keys: ECKey | RSAKey) -> Path:
    """A key set in a file."""
    file.write_bytes(key_set(*keys))
    return file
