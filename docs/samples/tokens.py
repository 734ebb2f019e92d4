"""Access tokens for a hospital's system: OAuth 2 with a key of its own (SMART Backend Services).

    python tokens.py key.json hospital-his-2026 > jwks.json

makes a key, keeps it in ``key.json`` and prints the public part, which the gateway's operator gets. Then
``Tokens`` gives tokens that count now, as ``lianren_client.Lianren`` takes them. It needs httpx and joserfc.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from pathlib import Path

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EARLY_S = 30


class Tokens:
    """Gives a token when called, and gets a new one half a minute before it ends.

    ``client`` is the id that the operator gave your system, ``key`` the file with its private key.
    """

    def __init__(self, base_url: str, client: str, key: Path) -> None:
        self._base = base_url
        self._client = client
        self._key = ECKey.import_key(json.loads(key.read_text()))
        self._token, self._ends = "", 0.0

    def __call__(self) -> str:
        """A token that counts now."""
        if time.monotonic() > self._ends - EARLY_S:
            self._token, self._ends = self._new()
        return self._token

    def _new(self) -> tuple[str, float]:
        with httpx.Client(base_url=self._base, timeout=5) as http:
            configuration = http.get("/fhir/.well-known/smart-configuration").raise_for_status().json()
            endpoint = configuration["token_endpoint"]
            assertion = jwt.encode(
                {"alg": "ES384", "kid": self._key.kid, "typ": "JWT"},
                {
                    "iss": self._client,
                    "sub": self._client,
                    "aud": endpoint,
                    "exp": int(time.time()) + 240,  # five minutes at most
                    "jti": uuid.uuid4().hex,  # an assertion counts once
                },
                self._key,
                ["ES384"],
            )
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION,
                "client_assertion": assertion,
            }
            given = http.post(endpoint, data=form).raise_for_status().json()
        return given["access_token"], time.monotonic() + given["expires_in"]


def new_key(file: Path, kid: str) -> str:
    """Keep a new key in a file that only its owner reads; the key set with its public part."""
    key = ECKey.generate_key("P-384", {"kid": kid})
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(key.as_dict(private=True), out)
    return json.dumps({"keys": [{**key.as_dict(private=False), "use": "sig"}]}, indent=1)


if __name__ == "__main__":
    print(new_key(Path(sys.argv[1]), sys.argv[2]))
