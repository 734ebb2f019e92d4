"""Which marks of an issuer are withdrawn: one signed list to cache and to check marks by offline.

A COSE_Sign1 of type `lianren-status` (`_cose`), signed by a key for marks. Its claims:

| key | claim | type |
|---:|---|---|
| 0 | version of this table, now 1 | integer |
| 1 | issuer: owner id, as in its marks | text |
| 4 | next update: when relying parties must have a newer list | seconds since 1970 |
| 6 | issued | seconds since 1970 |
| 20 | number: the issuer's count of withdrawals; it never falls | integer |
| 21 | the withdrawn marks that have not expired, in order of their ids | bytes, 21 for each |

The 21 bytes of a withdrawal: mark id (16), reason (1), time (4, seconds since 1970, big-endian). Ids are
random in their last ten bytes, so there is nothing to compress: a list is about 135 bytes and 21 for each
withdrawal (21 kB for 1,000, 2.1 MB for 100,000), and a mark is found in it by halving, unpacked.

Who signs can leave a withdrawal out; the ledger then shows it (`audit`). What this list prevents is that
somebody on the way holds a withdrawal back for longer than the list counts, or shows an older one again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct, ValidationError, convert

from security import _cose
from security.errors import KeyNotValid, SignatureRefused, StatusRefused, UnknownKey
from security.keys import SHANGHAI, AwareDatetime, OwnerId, Signer
from security.mark import CLOCK_SKEW, PURPOSE, Claims
from security.trust import TrustList

Reason = Literal["amended", "evaluation-failed", "entered-in-error", "issued-in-error", "other"]
REASONS: dict[Reason, tuple[int, str, str]] = {
    "amended": (1, "报告已更正", "the report was amended"),
    "evaluation-failed": (2, "质量评价后来未通过", "a quality evaluation failed afterwards"),
    "entered-in-error": (3, "结果录入有误", "the result was entered in error"),
    "issued-in-error": (4, "标识签发有误", "the mark was issued in error"),
    "other": (5, "其他原因", "for another reason"),
}
"""Why a mark is withdrawn: its number in a list, and the words for it."""

TYPE = "lianren-status"
MEDIA_TYPE = "application/cose"
VERSION = 1
MAX_SIZE = 64 * 1024 * 1024
_ID, _TIME = 16, 4
_RECORD = _ID + 1 + _TIME
_BY_NUMBER: dict[int, Reason] = {number: reason for reason, (number, _, _) in REASONS.items()}


class Withdrawn(Struct, frozen=True):
    """A withdrawn mark: its id (16 bytes), why, and when (aware, whole seconds)."""

    mark_id: bytes
    reason: Reason
    at: datetime


class _Claims(Struct, frozen=True, kw_only=True):
    issuer: OwnerId
    issued: AwareDatetime
    next_update: AwareDatetime
    number: Annotated[int, Meta(ge=0)]
    records: bytes


class StatusList(Struct, frozen=True, kw_only=True):
    """A status list as read; `data` are the bytes that it came in. Not yet verified."""

    issuer: str
    issued: datetime
    next_update: datetime
    number: int
    data: bytes
    message: _cose.Signed
    records: bytes

    def __len__(self) -> int:
        """How many marks are withdrawn."""
        return len(self.records) // _RECORD

    def __iter__(self) -> Iterator[Withdrawn]:
        """The withdrawn marks, in order of their ids."""
        return map(self._at, range(len(self)))

    def find(self, mark_id: bytes) -> Withdrawn | None:
        """The withdrawal of a mark, or None."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._id(middle) < mark_id:
                low = middle + 1
            else:
                high = middle
        return self._at(low) if low < len(self) and self._id(low) == mark_id else None

    def withdrawn(self, claims: Claims) -> str:
        """Why a mark does not count by this list, in a sentence; empty when it does (`mark.verify`)."""
        if claims.issuer != self.issuer:
            return f"the status list is of '{self.issuer}', the mark of '{claims.issuer}'"
        found = self.find(claims.mark_id)
        if found is None:
            return ""
        _, _, why = REASONS[found.reason]
        when = found.at.astimezone(SHANGHAI).isoformat(" ", "minutes")
        return f"the issuer withdrew the mark {claims.mark_id.hex()} on {when}: {why}"

    def _id(self, index: int) -> bytes:
        return self.records[index * _RECORD : index * _RECORD + _ID]

    def _at(self, index: int) -> Withdrawn:
        rest = self.records[index * _RECORD + _ID : (index + 1) * _RECORD]
        at = datetime.fromtimestamp(int.from_bytes(rest[1:]), UTC)
        return Withdrawn(self._id(index), _BY_NUMBER[rest[0]], at)


def issue(
    withdrawn: Iterable[Withdrawn],
    signer: Signer,
    *,
    number: int,
    issued: datetime,
    fresh: timedelta,
) -> bytes:
    """The signed list of the signer's owner; it counts from `issued` (aware) for `fresh`.

    Raises StatusRefused("format") for what no reader would take, as two withdrawals of one mark.
    """
    records = sorted(
        one.mark_id + bytes([REASONS[one.reason][0]]) + int(one.at.timestamp()).to_bytes(_TIME)
        for one in withdrawn
    )
    start = int(issued.timestamp())
    claims = {
        0: VERSION,
        1: signer.public.owner,
        4: start + int(fresh.total_seconds()),
        6: start,
        20: number,
        21: b"".join(records),
    }
    data = _cose.sign(_cose.encode(claims), signer, TYPE)
    read(data)
    return data


def read(data: bytes) -> StatusList:
    """Read a list, strictly and without verifying. Raises StatusRefused("format")."""
    if len(data) > MAX_SIZE:
        raise StatusRefused("format", f"not a status list: {len(data)} bytes are more than {MAX_SIZE}")
    try:
        message = _cose.read(data, "status list", TYPE)
        wire = _cose.decode(message.payload, "its content")
        claims = _read_claims(wire)
    except (ValidationError, ValueError, OverflowError, OSError) as wrong:
        raise StatusRefused("format", f"not a status list: {wrong}") from None
    return StatusList(
        issuer=claims.issuer,
        issued=claims.issued,
        next_update=claims.next_update,
        number=claims.number,
        data=data,
        message=message,
        records=claims.records,
    )


def verify(data: bytes, *, trust: TrustList, now: datetime, held: StatusList | None = None) -> StatusList:
    """The list, when it counts at `now` (aware). Raises StatusRefused whose `step` is the first that fails:

    1. `format`: it reads as a status list.
    2. `key`: its key is the issuer's own, for marks, and valid when it was issued.
    3. `signature`: the signature is of this list by that key.
    4. `freshness`: it is issued before `now` (5 minutes of clock skew allowed), and its next update lies
       ahead.
    5. `rollback`: it is not older than the `held` one of the same issuer. The number counts: replicas of an
       issuer sign lists of one number at slightly different times.
    """
    # 1
    found = read(data)
    # 2 and 3
    try:
        _cose.verify(found.message, trust=trust, issuer=found.issuer, at=found.issued, purpose=PURPOSE)
    except (UnknownKey, KeyNotValid) as wrong:
        raise StatusRefused("key", str(wrong)) from None
    except SignatureRefused as wrong:
        raise StatusRefused("signature", f"{wrong} (key {found.message.kid})") from None
    # 4
    if found.issued > now + CLOCK_SKEW:
        raise StatusRefused("freshness", f"the status list is issued in the future, on {found.issued}")
    if found.next_update <= now:
        raise StatusRefused(
            "freshness",
            f"the status list of '{found.issuer}' counted until {found.next_update.isoformat()};"
            " fetch a newer one",
        )
    # 5
    if held is not None and held.issuer != found.issuer:
        raise StatusRefused("rollback", f"the held list is of '{held.issuer}', this one of '{found.issuer}'")
    if held is not None and found.number < held.number:
        raise StatusRefused(
            "rollback",
            f"the status list of '{found.issuer}' has number {found.number}, but one of number {held.number}"
            " is held; withdrawals are not taken back",
        )
    return found


def _read_claims(wire: object) -> _Claims:
    if not isinstance(wire, dict) or type(wire.get(0)) is not int:
        raise ValueError("its content is not a map with a version")
    if wire[0] != VERSION:
        raise ValueError("it is of another version than 1; update this software to read it")
    if wire.keys() != {0, 1, 4, 6, 20, 21}:
        raise ValueError("it has other claims than version 1")
    claims = convert(
        {
            "issuer": wire[1],
            "next_update": _cose.seconds(wire[4]),
            "issued": _cose.seconds(wire[6]),
            "number": wire[20],
            "records": wire[21],
        },
        _Claims,
    )
    if not claims.issued < claims.next_update:
        raise ValueError("its next update is not after its issue")
    _check_records(claims.records)
    return claims


def _check_records(records: bytes) -> None:
    if len(records) % _RECORD:
        raise ValueError(f"its withdrawals are not of {_RECORD} bytes each")
    if not set(records[_ID::_RECORD]) <= _BY_NUMBER.keys():
        raise ValueError("it names an unknown reason")
    before = b""
    for start in range(0, len(records), _RECORD):
        mark_id = records[start : start + _ID]
        if mark_id <= before:
            raise ValueError("its withdrawals are not in order of their ids, or one is there twice")
        before = mark_id
