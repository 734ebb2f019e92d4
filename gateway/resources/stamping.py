"""The version and time of a kept resource, written into the ``meta`` of what goes out.

A server says there which version it gives (R4 resource.html#Meta), and clients take If-Match from it. What is
kept stays as it came: each member of the resource other than ``meta`` leaves with its own bytes.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from gateway.resources.values import Kept

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_OURS = ("versionId", "lastUpdated")


def stamped(kept: Kept) -> bytes:
    """The resource with ``meta.versionId`` and ``meta.lastUpdated``, in place of any that it came with."""
    head = b'{"resourceType":"%b","id":"%b"' % (kept.type.encode(), kept.id.encode())
    if (
        kept.body.startswith(head) and b'"meta"' not in kept.body
    ):  # as most are: nothing has to be taken apart
        told = f',"meta":{{"versionId":"{kept.version}","lastUpdated":"{_time(kept)}"}}'
        return b"%b%b%b" % (head, told.encode(), kept.body[len(head) :])
    members = _MEMBERS.decode(kept.body)
    meta = _MEMBERS.decode(members["meta"]) if "meta" in members else {}
    own = dict(zip(_OURS, (Raw(b'"%d"' % kept.version), Raw(f'"{_time(kept)}"'.encode())), strict=True))
    stamp = own | {name: value for name, value in meta.items() if name not in own}
    if "meta" in members:
        return msgspec.json.encode(members | {"meta": stamp})
    first = {name: members.pop(name) for name in ("resourceType", "id") if name in members}
    return msgspec.json.encode(first | {"meta": stamp} | members)


def _time(kept: Kept) -> str:
    return kept.saved.isoformat(timespec="milliseconds")
