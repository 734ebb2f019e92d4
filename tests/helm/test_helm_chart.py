"""The chart in helm/lianren and the Dockerfile: what they render, refuse and agree on.

Helm runs in process (helm_python binds its Go library), so no binary and no cluster is needed. Manifests are
held against the Kubernetes schemas that kubernetes_validate brings along. ServiceMonitor is a custom resource
of the Prometheus operator and has no schema there: it is left out by name.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

helm = pytest.importorskip(
    "helm_python",
    reason="helm_python is not here: pip install helm-python-sdk",
    exc_type=ImportError,
)
kubernetes_validate = pytest.importorskip(
    "kubernetes_validate",
    reason="kubernetes_validate is not here: pip install kubernetes-validate",
)

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "lianren"
README = (CHART / "README.md").read_text("utf-8")

Manifest = dict[str, Any]


@cache
def default_values() -> Manifest:
    values: Manifest = helm.values_from_yaml((CHART / "values.yaml").read_text("utf-8"))
    return values


@cache
def production_values() -> Manifest:
    """The production example as the README prints it."""
    found = re.search(r"```yaml\n# production\.yaml\n(.*?)```", README, re.DOTALL)
    assert found, "README.md shows production.yaml"
    values: Manifest = helm.values_from_yaml(found[1])
    return values


def render(values: Manifest | None = None) -> dict[str, Manifest]:
    """The manifests of a release `lianren` by kind, each kind at most once."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="lianren", namespace="prod")
    texts = [text for path, text in files.items() if path.endswith(".yaml") and text.strip()]
    manifests = [helm.values_from_yaml(text) for text in texts]
    assert len({manifest["kind"] for manifest in manifests}) == len(manifests)
    return {manifest["kind"]: manifest for manifest in manifests}


@cache
def rendered(which: str) -> dict[str, Manifest]:
    return render(production_values() if which == "production" else None)


def pod(which: str) -> Manifest:
    spec: Manifest = rendered(which)["Deployment"]["spec"]["template"]["spec"]
    return spec


def settings(manifests: dict[str, Manifest]) -> Manifest:
    return tomllib.loads(manifests["ConfigMap"]["data"]["lianren.toml"])


def leaves(values: Manifest, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


both = pytest.mark.parametrize("which", ["default", "production"])


def test_the_chart_lints_without_errors() -> None:
    report = helm.lint(CHART)
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_the_chart_carries_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    with helm.Chart.load(CHART) as chart:
        assert (chart.version, chart.metadata["appVersion"]) == (version, version)


@both
def test_every_manifest_is_valid_for_kubernetes(which: str) -> None:
    for kind, manifest in rendered(which).items():
        if kind != "ServiceMonitor":
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_default_release_has_one_replica_on_a_claim() -> None:
    assert set(rendered("default")) == {
        "ConfigMap",
        "Deployment",
        "PersistentVolumeClaim",
        "Service",
        "ServiceAccount",
    }


def test_the_production_release_has_every_optional_part_and_no_claim() -> None:
    assert set(rendered("production")) == {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


def test_a_release_of_three_replicas_without_autoscaling_is_guarded_by_a_disruption_budget() -> None:
    manifests = render(production_values() | {"autoscaling": {"enabled": False}})
    assert manifests["Deployment"]["spec"]["replicas"] == 3
    assert "PodDisruptionBudget" in manifests


def test_the_autoscaler_alone_counts_replicas_when_it_is_on() -> None:
    assert "replicas" not in rendered("production")["Deployment"]["spec"]


@pytest.mark.parametrize("values", [{"replicas": 2}, {"autoscaling": {"enabled": True}}])
def test_the_embedded_store_refuses_more_than_one_replica(values: Manifest) -> None:
    with pytest.raises(helm.HelmError, match=r"store\.kind is embedded, so replicas must be 1"):
        render(values)


@pytest.mark.parametrize("missing", ["store.existingSecret", "keys.existingSecret"])
def test_postgresql_asks_for_the_secret_that_is_not_named(missing: str) -> None:
    section = missing.split(".")[0]
    values = production_values() | {section: production_values()[section] | {"existingSecret": ""}}
    with pytest.raises(
        helm.HelmError, match=rf"store\.kind is postgresql, so {re.escape(missing)} must name"
    ):
        render(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"replica": 1}, "additional properties 'replica' not allowed"),
        ({"store": {"dsn": "postgresql://db"}}, "additional properties 'dsn' not allowed"),
        ({"replicas": "1"}, "got string, want integer"),
        ({"config": {"port": 80}}, "got 80, want 1,024"),
        ({"config": {"store": "postgresql://db"}}, "invalid propertyName 'store'"),
        ({"config": {"region": 500000}}, "got number, want string"),
        ({"networkPolicy": {"namespaces": []}}, "minItems: got 0, want 1"),
        ({"ingress": {"enabled": True}}, "'/ingress/tlsSecret': minLength"),
    ],
)
def test_the_schema_refuses_a_wrong_value(values: Manifest, sentence: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=re.escape(sentence)):
        render(values)


@both
def test_the_rendered_toml_equals_the_values(which: str) -> None:
    values = production_values() if which == "production" else {}
    assert settings(rendered(which)) == default_values()["config"] | values.get("config", {})


def test_toml_keeps_whole_numbers_whole_and_odd_text_unchanged() -> None:
    odd: Manifest = {
        "limit": 12345678,
        "ratio": 0.5,
        "on": True,
        "words": ["<甲>", 'say "乙" \\ &', "two\nlines", ""],
        "a table": {"dotted.key": [{"deep": -1, "empty": {}}, {"deep": 2}], "mixed": [[1, 2], []]},
    }
    config = settings(render({"config": odd}))
    assert {key: repr(config[key]) for key in odd} == {key: repr(value) for key, value in odd.items()}


@both
def test_every_pod_is_confined(which: str) -> None:
    spec = pod(which)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


@both
def test_no_service_link_can_pose_as_a_setting(which: str) -> None:
    """A Service named lianren would put LIANREN_PORT=tcp://… into the environment of the pod."""
    assert pod(which)["enableServiceLinks"] is False


def test_secrets_reach_the_gateway_by_reference_only() -> None:
    assert pod("production")["containers"][0]["env"] == [
        {
            "name": "LIANREN_STORE",
            "valueFrom": {"secretKeyRef": {"name": "lianren-store", "key": "dsn"}},
        },
        {
            "name": "LIANREN_REDIS",
            "valueFrom": {"secretKeyRef": {"name": "lianren-redis", "key": "url"}},
        },
        {"name": "LIANREN_KEY_PASSPHRASE_FILE", "value": "/etc/lianren/passphrase/passphrase"},
    ]


@both
def test_every_mount_has_its_volume(which: str) -> None:
    containers = [*pod(which)["containers"], *pod(which).get("initContainers", [])]
    mounts = {mount["name"] for container in containers for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod(which)["volumes"]}


def test_a_changed_setting_rolls_the_pods() -> None:
    def checksum(manifests: dict[str, Manifest]) -> str:
        annotations: dict[str, str] = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
        return annotations["checksum/config"]

    changed = render({"config": {"base_url": "https://other.example.org"}})
    assert checksum(changed) != checksum(rendered("default"))


def test_the_readme_lists_every_value_with_its_default() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", README, re.MULTILINE)
    assert {key: json.loads(default) for key, default in rows} == dict(leaves(default_values()))


def test_the_image_exposes_the_port_and_runs_as_the_user_of_the_chart() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    spec = pod("default")
    ports = [port["containerPort"] for port in spec["containers"][0]["ports"]]
    assert [int(port) for port in re.findall(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)] == ports
    user = f"USER {spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
    assert user in dockerfile.splitlines()


def test_the_image_starts_with_the_settings_that_the_chart_mounts() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    command = json.loads(re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)[-1])
    mounts = {mount["name"]: mount["mountPath"] for mount in pod("default")["containers"][0]["volumeMounts"]}
    assert command == ["serve", "--config", mounts["config"]]


def test_the_image_carries_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_build_gets_every_package_of_the_wheel() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {f"!{package}" for package in packages} <= set(ignored)
