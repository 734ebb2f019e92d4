"""The metrics, and what is shipped to look at them: every query names what the gateway gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client.metrics import MetricWrapperBase

from gateway.app import describe_app
from gateway.faces.describe import openapi
from gateway.metrics import Metrics, face_of
from tests.helm.chart import CHART, read_yaml

_SELECTED = re.compile(r"(lianren_[a-z_]+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r'([a-z_]+)(?:=~|!~|!=|=)"([^"]*)"')
_GROUPED = re.compile(r"\bby \(([^)]*)\)")
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
SCRAPED = {"job", "instance", "le"}
"""Labels that Prometheus adds, and the bounds of histograms."""


def labels_of_samples() -> dict[str, frozenset[str]]:
    """Every sample that a gateway may give, with its labels."""
    metrics = Metrics()
    metrics.request("rest", 200, 0.1)
    families = metrics.requests.collect()
    found = {sample.name: frozenset(sample.labels) for family in families for sample in family.samples}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            for suffix in _SUFFIXES[family.type]:
                found[family.name + suffix] = frozenset(metric._labelnames)
    return found


def dashboard() -> Iterator[tuple[str, str]]:
    """Title and query of every line of the dashboard."""
    for panel in json.loads((CHART / "dashboards/lianren.json").read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def alerts() -> Iterator[tuple[str, str]]:
    """Name and query of every alert."""
    for group in read_yaml((CHART / "alerts/lianren.yaml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


QUERIES = [*dashboard(), *alerts()]
SAMPLES = labels_of_samples()


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_a_query_names_metrics_and_labels_that_there_are(name: str, query: str) -> None:
    selected = _SELECTED.findall(query)
    assert selected
    for sample, selector in selected:
        assert sample in SAMPLES, name
        assert {label for label, _ in _LABEL.findall(selector)} <= SAMPLES[sample] | SCRAPED


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_a_query_groups_by_labels_that_there_are(name: str, query: str) -> None:
    there = SCRAPED.union(*(SAMPLES[sample] for sample, _ in _SELECTED.findall(query)))
    for group in _GROUPED.findall(query):
        assert {label.strip() for label in group.split(",")} <= there, name


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_a_query_is_balanced(name: str, query: str) -> None:
    assert query.count("(") == query.count(")")
    assert query.count("{") == query.count("}")


def test_the_dashboard_shows_every_metric_or_an_alert_looks_at_it() -> None:
    text = " ".join(query for _, query in QUERIES)
    families = {re.sub(r"_(total|bucket|sum|count)$", "", sample) for sample in SAMPLES}
    looked_at = {re.sub(r"_(total|bucket|sum|count)$", "", sample) for sample, _ in _SELECTED.findall(text)}
    assert families - looked_at == set()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((CHART / "dashboards/lianren.json").read_text("utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_how_grave_it_is_in_both_languages() -> None:
    for group in read_yaml((CHART / "alerts/lianren.yaml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert re.search(r"[\u4e00-\u9fff]", rule["annotations"]["summary"])


@pytest.mark.parametrize(
    ("path", "face"),
    [
        ("/api/v1/checks", "rest"),
        ("/api/v1/results", "peer"),
        ("/api/v1/resources/read", "peer"),
        ("/fhir/ConceptMap/$translate", "fhir"),
        ("/cds-services", "cds"),
        ("/metrics", "operations"),
        ("/health/ready", "operations"),
        ("/", "other"),
        ("/990000199001010017", "other"),
        ("/wp-login.php", "other"),
    ],
)
def test_a_request_is_counted_under_its_face_and_never_under_its_address(path: str, face: str) -> None:
    assert face_of(path) == face


def test_every_route_has_a_face() -> None:
    paths = openapi(describe_app())["paths"]
    assert [path for path in paths if face_of(path) == "other"] == []


def test_requests_are_counted_by_face_and_status_and_timed_by_face() -> None:
    metrics = Metrics()
    for status, seconds in ((200, 0.004), (200, 0.005), (404, 0.006), ("aborted", 99.0)):
        metrics.request("fhir", status, seconds)
    told = metrics.render().decode().splitlines()
    assert 'lianren_requests_total{face="fhir",status="200"} 2.0' in told
    assert 'lianren_requests_total{face="fhir",status="aborted"} 1.0' in told
    assert 'lianren_request_seconds_bucket{face="fhir",le="0.005"} 2.0' in told
    assert 'lianren_request_seconds_bucket{face="fhir",le="0.01"} 3.0' in told
    assert 'lianren_request_seconds_bucket{face="fhir",le="+Inf"} 4.0' in told
    assert 'lianren_request_seconds_count{face="fhir"} 4.0' in told
