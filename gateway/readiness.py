"""Whether checks can be answered, and what will stop them soon: for the orchestrator and the operator.

A finding either *fails* (evidence cannot be kept: the gateway is not ready and answers no new check) or
*warns*, well before it fails. The same findings are metrics, so that an alarm needs no polling of its own.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from msgspec import Struct

from adapters.errors import StoreError
from adapters.sequencer import Sequencer
from gateway.errors import EvidenceUnavailable
from gateway.keeper import TrustKeeper
from gateway.marks.statuses import Statuses
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.witness.witnessing import Witnesses
from security.errors import TrustError
from security.keys import PublicKey

SOON = timedelta(days=30)
"""How long before its end a key is a warning."""
FULL = 16
"""An embedded store counts as full below this part of what warns: what runs already still ends."""
SLOW_S = 1.0
"""A write that takes longer is a warning: a check has half a second."""

Part = Literal[
    "store",
    "ledger",
    "disk",
    "latency",
    "queue",
    "keys",
    "key_lists",
    "status_lists",
    "witnesses",
    "conflicts",
]
PARTS: tuple[Part, ...] = get_args(Part)


class Finding(Struct, frozen=True):
    """What is wrong with a part, and what to do about it."""

    part: Part
    level: Literal["warn", "fail"]
    detail: str


async def witness_findings(witnesses: Witnesses) -> list[Finding]:
    """Witnesses that are missing, and heads that contradict each other; neither stops traffic."""
    report = await witnesses.report()
    found = [
        Finding("witnesses", "warn", f"the witness {one.owner} does not cosign: {one.state}")
        for one in report.witnesses
        if one.state not in ("cosigns", "unasked")
    ]
    if report.conflicts:
        found.append(
            Finding("conflicts", "warn", f"{report.conflicts} pairs of checkpoints contradict each other")
        )
    return found


async def trust_findings(trust: TrustKeeper) -> list[Finding]:
    """Gateways whose key list is missing: only their marks count for nothing."""
    return [Finding("key_lists", "warn", f"the key list of {owner} is missing") for owner in trust.missing]


async def status_findings(statuses: Statuses) -> list[Finding]:
    """Gateways whose status list is missing or too old: a withdrawal may come late."""
    return [
        Finding("status_lists", "warn", f"the list of withdrawn marks of {owner} is missing or too old")
        for owner in statuses.missing(datetime.now(UTC))
    ]


class Readiness:
    """Looks at the parts of a gateway.

    Args:
        settings: where the embedded store lies, and when its disk warns.
        sequencer: of the open store.
        keys: the own keys, as they are now.
        others: further findings, of parts that know themselves.
        metrics: told of every look.
        slow_s: seconds that a write to the ledger may take.
    """

    def __init__(
        self,
        settings: Settings,
        sequencer: Sequencer,
        keys: Callable[[], Sequence[PublicKey]],
        others: Sequence[Callable[[], Awaitable[Sequence[Finding]]]],
        metrics: Metrics,
        *,
        slow_s: float = SLOW_S,
    ) -> None:
        self._slow_s = slow_s
        self._settings = settings
        self._sequencer = sequencer
        self._keys = keys
        self._others = others
        self._metrics = metrics
        self._looking: asyncio.Task[list[Finding]] | None = None

    async def findings(self) -> list[Finding]:
        """What is wrong now; empty when nothing is. However many ask at a time, anybody may, the store is
        asked once."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> list[Finding]:
        found = [*self._ledger(), *self._disk(), *self._expiring(datetime.now(UTC))]
        try:
            await self._sequencer.check()
        except StoreError:
            detail = "nothing can be written to the ledger or signed; the log has the reason"
            found.append(Finding("store", "fail", detail))
        else:
            for other in self._others:
                found += await other()
        levels = {(finding.part, finding.level) for finding in found}
        for part in PARTS:
            for level in ("warn", "fail"):
                self._metrics.findings.labels(part, level).set((part, level) in levels)
        self._metrics.queue.set(self._sequencer.queued)
        self._metrics.write_seconds.set(self._sequencer.seconds)
        return found

    def require(self) -> None:
        """Refuse a new check before anybody is asked, where its evidence could not be kept.

        Raises:
            EvidenceUnavailable: with the reason.
        """
        for finding in (*self._ledger(), *self._disk()):
            if finding.level == "fail":
                raise EvidenceUnavailable(
                    f"this gateway cannot keep evidence now, so it answers nothing: {finding.detail};"
                    " go on as without it"
                )

    def _ledger(self) -> list[Finding]:
        sequencer, found = self._sequencer, []
        if trouble := sequencer.trouble:
            found.append(Finding("ledger", "fail", trouble))
        if sequencer.seconds > self._slow_s:
            found.append(
                Finding("latency", "warn", f"the last write to the ledger took {sequencer.seconds:.1f} s")
            )
        if sequencer.queued > sequencer.waiting // 2:
            found.append(Finding("queue", "warn", f"{sequencer.queued} of {sequencer.waiting} writes wait"))
        return found

    def _disk(self) -> list[Finding]:
        free = shutil.disk_usage(self._settings.data_dir).free
        self._metrics.disk_free.set(free)
        free_mb, warn = free >> 20, self._settings.disk_warn_mb
        if not self._settings.store and free_mb < warn // FULL:
            return [Finding("disk", "fail", f"the disk of the store is full: {free_mb} MB are left")]
        if free_mb < warn:
            return [Finding("disk", "warn", f"{free_mb} MB are left on the disk of data_dir")]
        return []

    def _expiring(self, now: datetime) -> list[Finding]:
        """A purpose whose last key ends soon; an older key beside a newer one may end."""
        last: dict[tuple[str, str], datetime] = {}
        try:
            for key in self._keys():
                if key.status == "active":
                    name = (key.purpose, key.algorithm)
                    last[name] = max(key.not_after, last.get(name, key.not_after))
        except TrustError as wrong:
            return [Finding("keys", "warn", str(wrong))]
        for (purpose, algorithm), ends in last.items():
            self._metrics.key_expires.labels(purpose, algorithm).set((ends - now).total_seconds())
        return [
            Finding(
                "keys",
                "warn",
                f"the {algorithm} key for {purpose} counts until {ends:%Y-%m-%d}: lianren keys rotate",
            )
            for (purpose, algorithm), ends in sorted(last.items())
            if ends - now < SOON
        ]
