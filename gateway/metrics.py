"""Metrics in Prometheus form. Labels are node ids, states, verdicts, faces: nothing about a person."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry a gateway, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.checks = Counter(
            "lianren_checks_total", "Checks answered", ["face", "complete"], registry=self._registry
        )
        self.verdicts = Counter(
            "lianren_verdicts_total",
            "Verdicts given, by verdict and main rule",
            ["verdict", "rule"],
            registry=self._registry,
        )
        self.nodes = Counter(
            "lianren_node_answers_total",
            "Answers of nodes, by state",
            ["node", "state"],
            registry=self._registry,
        )
        self.refusals = Counter(
            "lianren_refusals_total", "Requests refused, by code", ["code"], registry=self._registry
        )
        self.seconds = Histogram(
            "lianren_check_seconds", "Time of a check", ["face"], buckets=_SECONDS, registry=self._registry
        )
        self.consent_denials = Counter(
            "lianren_consent_denials_total",
            "Questions not asked because of the patient's consent",
            registry=self._registry,
        )
        self.break_glass = Counter(
            "lianren_break_glass_total", "Emergency accesses declared", registry=self._registry
        )
        self.witnesses = Gauge(
            "lianren_witness_cosigns",
            "Whether a witness cosigned the newest checkpoint it was shown",
            ["witness"],
            registry=self._registry,
        )
        self.cosigned_size = Gauge(
            "lianren_ledger_cosigned_size",
            "Entries under the newest checkpoint that a quorum signed",
            registry=self._registry,
        )
        self.conflicts = Gauge(
            "lianren_ledger_conflicts",
            "Pairs of signed checkpoints that contradict each other, on record",
            registry=self._registry,
        )
        self.ledger_refused = Gauge(
            "lianren_ledger_refused",
            "1 when nothing is signed because a longer or another ledger was published",
            registry=self._registry,
        )
        self.findings = Gauge(
            "lianren_findings",
            "1 where readiness has a finding, by part and level (warn, fail)",
            ["part", "level"],
            registry=self._registry,
        )
        self.disk_free = Gauge(
            "lianren_disk_free_bytes", "Free space on the disk of data_dir", registry=self._registry
        )
        self.queue = Gauge("lianren_ledger_queue", "Writes that wait for the ledger", registry=self._registry)
        self.write_seconds = Gauge(
            "lianren_ledger_write_seconds",
            "Time of the last write to the ledger: commit, signature, note",
            registry=self._registry,
        )
        self.key_expires = Gauge(
            "lianren_key_expires_seconds",
            "Time until the last key of a purpose ends",
            ["purpose", "algorithm"],
            registry=self._registry,
        )
        self.log_size = Gauge("lianren_ledger_size", "Entries in the ledger", registry=self._registry)
        self.editions = Gauge(
            "lianren_catalogue_editions",
            "Published editions of catalogues, by state",
            ["state"],
            registry=self._registry,
        )
        self.editions_refused = Counter(
            "lianren_catalogue_editions_refused_total",
            "Published editions that were refused",
            registry=self._registry,
        )
        self.withdrawals = Counter(
            "lianren_withdrawals_total", "Marks withdrawn, by reason", ["reason"], registry=self._registry
        )
        self.cache_errors = Counter("lianren_cache_errors_total", "Cache failures", registry=self._registry)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
