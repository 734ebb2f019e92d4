"""The chart as Helm renders it, in process: helm_python binds Helm's Go library, so no binary is needed."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

helm = pytest.importorskip(
    "helm_python",
    reason="helm_python is not here: pip install helm-python-sdk",
    exc_type=ImportError,
)

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "lianren"
README = (CHART / "README.md").read_text("utf-8")

Manifest = dict[str, Any]


def read_yaml(text: str) -> Manifest:
    """One document of YAML."""
    values: Manifest = helm.values_from_yaml(text)
    return values


@cache
def default_values() -> Manifest:
    """values.yaml."""
    return read_yaml((CHART / "values.yaml").read_text("utf-8"))


@cache
def example(name: str) -> Manifest:
    """An example as the README prints it."""
    found = re.search(rf"```yaml\n# {name}\.yaml\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md shows {name}.yaml"
    return read_yaml(found[1])


def render(values: Manifest | None = None) -> dict[str, Manifest]:
    """The manifests of a release ``lianren``, by kind and what their name has behind the release's:
    ``ConfigMap``, ``ConfigMap-nginx``."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="lianren", namespace="prod")
    documents = [
        document
        for path, text in files.items()
        if path.endswith(".yaml")
        for document in re.split(r"^---$", text, flags=re.MULTILINE)
        if document.strip()
    ]
    manifests = [read_yaml(document) for document in documents]
    named = {
        manifest["kind"] + manifest["metadata"]["name"].removeprefix("lianren"): manifest
        for manifest in manifests
    }
    assert len(named) == len(manifests)
    return named


@cache
def rendered(which: str) -> dict[str, Manifest]:
    """``default``, or an example of the README."""
    return render(None if which == "default" else example(which))
