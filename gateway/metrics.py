"""Metrics in Prometheus form. Labels are node ids, states, verdicts, faces: nothing about a person."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gateway._request_counts import RequestCounts

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_FACES = {
    ".well-known": "oauth",
    "api": "rest",
    "cds-services": "cds",
    "console": "console",
    "dicomweb": "dicomweb",
    "fhir": "fhir",
    "health": "operations",
    "ledger": "ledger",
    "metrics": "operations",
    "oauth": "oauth",
    "trust": "trust",
    "witness": "witness",
}
"""First word of an address → face."""
_PEERS = ("/api/v1/results", "/api/v1/resources", "/api/v1/studies")


def face_of(path: str) -> str:
    """The face that a request comes in by; ``other`` for an address of none."""
    face = _FACES.get(path[1:].partition("/")[0], "other")
    return "peer" if face == "rest" and path.startswith(_PEERS) else face


class Metrics:
    """One registry a gateway, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = RequestCounts(_SECONDS)
        self._registry.register(self.requests)
        self.request = self.requests.add
        self._of_checks: dict[tuple[str, bool], tuple[Counter, Histogram]] = {}
        self._of_verdicts: dict[tuple[str, str], Counter] = {}
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
        self.publications = Counter(
            "lianren_publications_total", "Publications carried out", ["node"], registry=self._registry
        )
        self.stored = Counter(
            "lianren_images_stored_total",
            "Instances that were to be stored, by what came of it (stored, refused)",
            ["node", "result"],
            registry=self._registry,
        )
        self.node_seconds = Histogram(
            "lianren_node_seconds",
            "Time of a request to a node",
            ["node"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.node_reused = Counter(
            "lianren_node_reused_total",
            "Answers without a request of their own: told again, or joined while another asked",
            ["node", "how"],
            registry=self._registry,
        )
        self.node_late = Counter(
            "lianren_node_late_total",
            "Answers that came after their deadline, for the next question",
            ["node"],
            registry=self._registry,
        )
        self.node_hedges = Counter(
            "lianren_node_hedges_total", "Requests made a second time", ["node"], registry=self._registry
        )
        self.node_in_flight = Gauge(
            "lianren_node_in_flight", "Requests to a node under way", ["node"], registry=self._registry
        )
        self.node_waiting = Gauge(
            "lianren_node_waiting",
            "Questions that wait for their turn at a node",
            ["node"],
            registry=self._registry,
        )
        self.node_left_alone = Gauge(
            "lianren_node_left_alone",
            "1 while a node is left alone because it failed, or is tried again",
            ["node"],
            registry=self._registry,
        )
        self.refusals = Counter(
            "lianren_refusals_total", "Requests refused, by code", ["code"], registry=self._registry
        )
        self.seconds = Histogram(
            "lianren_check_seconds", "Time of a check", ["face"], buckets=_SECONDS, registry=self._registry
        )
        self.in_flight = Gauge(
            "lianren_requests_in_flight", "Requests worked on", ["urgency"], registry=self._registry
        )
        self.waiting = Gauge(
            "lianren_requests_waiting",
            "Requests that wait for their turn",
            ["urgency"],
            registry=self._registry,
        )
        self.shed = Counter(
            "lianren_requests_shed_total",
            "Requests refused because there were too many",
            ["urgency"],
            registry=self._registry,
        )
        self.searches = Counter(
            "lianren_searches_total", "Searches answered", ["type", "complete"], registry=self._registry
        )
        self.search_seconds = Histogram(
            "lianren_search_seconds", "Time of a search", buckets=_SECONDS, registry=self._registry
        )
        self.viewings = Counter(
            "lianren_viewings_total",
            "Viewings of images opened, for a hospital's system (his) or another gateway (peer)",
            ["role"],
            registry=self._registry,
        )
        self.images = Counter(
            "lianren_images_total",
            "Images passed on: whole, broken off by their archive, left by their viewer, or handed over to"
            " the proxy",
            ["node", "outcome"],
            registry=self._registry,
        )
        self.image_bytes = Counter(
            "lianren_image_bytes_total", "Bytes of images passed on", ["node"], registry=self._registry
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

    def check(self, face: str, complete: bool, seconds: float, verdicts: Iterable[tuple[str, str]]) -> None:
        """Count and time a check; ``verdicts`` are each one's code and main rule."""
        known = self._of_checks.get((face, complete))
        if known is None:  # looking labels up costs more than counting
            known = self.checks.labels(face, str(complete).lower()), self.seconds.labels(face)
            self._of_checks[face, complete] = known
        known[0].inc()
        known[1].observe(seconds)
        for verdict, many in Counted(verdicts).items():
            if verdict not in self._of_verdicts:
                self._of_verdicts[verdict] = self.verdicts.labels(*verdict)
            self._of_verdicts[verdict].inc(many)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
