"""The signature of a report: a detached JWS over its canonical JSON, in the file beside it.

JSON, because its reader is a person or a script and the report says itself what was signed; a COSE_Sign1 as
in marks is made to be small. The key is one of purpose ``peer``, which signs what this gateway hands to
others: a ``mark`` key signs marks alone. A report begins with its ``type``, so that nothing else that such a
key signs can be taken for one. The page for people carries the signed JSON, and is what that renders to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

import msgspec
import rfc8785

from gateway.accrediting.page import page
from gateway.accrediting.values import Report, Signed
from security import jws
from security.errors import SignatureRefused
from security.keys import PublicKey, Signer

PURPOSE = "peer"
_EMBEDDED = re.compile(rb'<script type="application/json" id="signed">(.*?)</script>', re.DOTALL)


def sign(report: Report, signer: Signer) -> Signed:
    """The report with its signature. Raises KeyStoreError: no key counts now."""
    return Signed(report, jws.sign(_canonical(msgspec.to_builtins(report)), signer))


def written(signed: Signed) -> bytes:
    """The file for machines."""
    return msgspec.json.format(msgspec.json.encode(signed)) + b"\n"


def verify(data: bytes, key_of: Callable[[str, datetime], PublicKey]) -> Report:
    """The report in a file, JSON or page, if its signature holds and a page shows nothing else.

    ``key_of`` gives the key of an id that counted at a time.

    Raises:
        SignatureRefused: it is no signed report, or not as it was signed.
        TrustError: its key did not count.
    """
    embedded = _EMBEDDED.search(data)
    try:
        raw = msgspec.json.decode(embedded[1] if embedded else data)
        signed = msgspec.convert(raw, Signed)
        canonical = _canonical(raw["report"])
    except (msgspec.MsgspecError, UnicodeError, RecursionError, rfc8785.CanonicalizationError):
        raise SignatureRefused("not a report of an accreditation") from None
    report = signed.report
    key = key_of(jws.key_id(signed.signature), report.made)
    if key.owner != report.gateway:
        raise SignatureRefused(f"key {key.kid} is not of the gateway that the report names")
    jws.verify(signed.signature, canonical, key)
    if embedded and page(signed) != data:
        raise SignatureRefused(
            "the page is not what its signed content renders to: it was changed, or made by another version"
        )
    return report


def _canonical(report: object) -> bytes:
    return rfc8785.dumps(report)  # type: ignore[arg-type]
