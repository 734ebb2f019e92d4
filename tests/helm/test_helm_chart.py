"""The chart in helm/lianren and the Dockerfile: what they render, refuse and agree on.

Manifests are held against the Kubernetes schemas that kubernetes_validate brings along. ServiceMonitor and
PrometheusRule are custom resources of the Prometheus operator and have no schema there: they are left out by
name.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.settings import Settings, load_settings
from tests.helm.chart import CHART, README, ROOT, Manifest, default_values, example, helm, render, rendered

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate",
    reason="kubernetes_validate is not here: pip install kubernetes-validate",
)

OLDEST = "1.30.0"
CUSTOM = ("ServiceMonitor", "PrometheusRule")


def pod(which: str) -> Manifest:
    spec: Manifest = rendered(which)["Deployment"]["spec"]["template"]["spec"]
    return spec


def pods(which: str) -> list[Manifest]:
    """Those of the deployment and of the job, where there is one."""
    kinds = ("Deployment", "Job-migrate")
    return [rendered(which)[kind]["spec"]["template"]["spec"] for kind in kinds if kind in rendered(which)]


def containers(spec: Manifest) -> list[Manifest]:
    return [*spec["containers"], *spec.get("initContainers", [])]


def settings(manifests: dict[str, Manifest], name: str = "ConfigMap") -> Manifest:
    return tomllib.loads(manifests[name]["data"]["lianren.toml"])


def leaves(values: Manifest, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


every = pytest.mark.parametrize("which", ["default", "production", "mtls"])


def test_the_chart_lints_without_errors() -> None:
    report = helm.lint(CHART)
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_the_chart_carries_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    with helm.Chart.load(CHART) as chart:
        assert (chart.version, chart.metadata["appVersion"]) == (version, version)


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@every
def test_every_manifest_is_valid_for_kubernetes(which: str, version: str) -> None:
    for manifest in rendered(which).values():
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_chart_asks_for_the_oldest_kubernetes_that_it_is_checked_for() -> None:
    with helm.Chart.load(CHART) as chart:
        assert chart.metadata["kubeVersion"] == f">={OLDEST.removesuffix('.0')}.0-0"


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
        "ConfigMap-dashboards",
        "ConfigMap-migrate",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job-migrate",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PrometheusRule",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


def test_a_release_of_three_replicas_without_autoscaling_is_guarded_by_a_disruption_budget() -> None:
    manifests = render(example("production") | {"autoscaling": {"enabled": False}})
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
    values = example("production") | {section: example("production")[section] | {"existingSecret": ""}}
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
        ({"nginx": {"enabled": True}}, "'/nginx/clients/caSecret': minLength"),
        ({"nginx": {"clients": {"verify": "off"}}}, "'/nginx/clients/verify'"),
        ({"nginx": {"port": 443}}, "got 443, want 1,024"),
        ({"nginx": {"offload": {"archives": ["a/b"]}}}, "'/nginx/offload/archives/0'"),
        ({"networkPolicy": {"egress": [{"cidr": "10.0.0.0/8"}]}}, "missing property 'ports'"),
        ({"networkPolicy": {"egress": [{"ports": [443]}]}}, "'/networkPolicy/egress/0'"),
        ({"networkPolicy": {"egress": [{"cidr": "everywhere", "ports": [443]}]}}, "does not match pattern"),
        ({"migrations": {"job": True}}, "additional properties 'job' not allowed"),
        ({"dashboards": {"labels": {"a": 1}}}, "got number, want string"),
    ],
)
def test_the_schema_refuses_a_wrong_value(values: Manifest, sentence: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=re.escape(sentence)):
        render(values)


@every
def test_the_rendered_toml_equals_the_values(which: str) -> None:
    values = {} if which == "default" else example(which)
    follows = {
        "default": {},
        "production": {"migrate": False},
        "mtls": {
            "uds": "/run/lianren/gateway.sock",
            "client_certificate_header": "X-Client-Certificate",
            "offload": "/archives",
            "node_files": "/etc/lianren/nodes",
        },
    }[which]
    assert settings(rendered(which)) == default_values()["config"] | values.get("config", {}) | follows


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


@every
def test_every_pod_is_confined(which: str) -> None:
    for spec in pods(which):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(spec):
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


@every
def test_no_service_link_can_pose_as_a_setting(which: str) -> None:
    """A Service named lianren would put LIANREN_PORT=tcp://… into the environment of the pod."""
    assert {spec["enableServiceLinks"] for spec in pods(which)} == {False}


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


@every
def test_every_mount_has_its_volume(which: str) -> None:
    for spec in pods(which):
        mounts = {mount["name"] for container in containers(spec) for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["volumes"]}


def test_a_changed_setting_rolls_the_pods() -> None:
    def checksum(manifests: dict[str, Manifest]) -> str:
        annotations: dict[str, str] = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
        return annotations["checksum/config"]

    changed = render({"config": {"base_url": "https://other.example.org"}})
    assert checksum(changed) != checksum(rendered("default"))


@every
def test_the_gateway_takes_the_settings_that_the_chart_writes(which: str) -> None:
    written = settings(rendered(which))
    nodes = [{"owner": "sc", **node} if node["kind"] == "gateway" else node for node in written["nodes"]]
    assert Settings(**written | {"nodes": nodes}).owner == "cq"


def test_a_job_brings_the_tables_up_to_date_before_the_pods_start() -> None:
    job = rendered("production")["Job-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    words = job["spec"]["template"]["spec"]["containers"][0]["args"]
    asked = CliRunner().invoke(app, [*words[:2], "--help"])
    assert asked.exit_code == 0
    assert words[2] in asked.output
    assert settings(rendered("production"))["migrate"] is False


def test_the_settings_of_the_job_are_there_before_it() -> None:
    hooks = [
        rendered("production")[name]["metadata"]["annotations"]
        for name in ("ConfigMap-migrate", "Job-migrate")
    ]
    assert [int(hook["helm.sh/hook-weight"]) for hook in hooks] == [-1, 0]
    assert settings(rendered("production"), "ConfigMap-migrate") == settings(rendered("production"))


def test_the_job_takes_the_settings_of_a_release_behind_nginx(tmp_path: Path) -> None:
    client = {
        "id": "his",
        "institution": "EX-CQ-01",
        "roles": ["his"],
        "token_sha256": "0" * 64,
        "certificates": ["A" * 43],
    }
    values = example("mtls") | {key: example("production")[key] for key in ("store", "keys")}
    manifests = render(values | {"config": values["config"] | {"clients": [client]}})
    file = tmp_path / "lianren.toml"
    file.write_text(manifests["ConfigMap-migrate"]["data"]["lianren.toml"], "utf-8")
    assert load_settings(file).clients[0].id == "his"


def test_a_node_that_is_published_to_has_no_address() -> None:
    node = {"id": "cq-clinics", "kind": "published", "institution": "cq-demo-1"}
    assert settings(render({"config": {"nodes": [node]}}))["nodes"] == [node]


def test_no_request_reaches_the_pod_of_the_job() -> None:
    labels = rendered("production")["Job-migrate"]["spec"]["template"]["metadata"]["labels"]
    selector = rendered("production")["Service"]["spec"]["selector"]
    assert not selector.items() <= labels.items()


def test_pods_that_migrate_themselves_need_no_job() -> None:
    manifests = render(example("production") | {"migrations": {"enabled": False}})
    assert "Job-migrate" not in manifests
    assert "migrate" not in settings(manifests)


@pytest.mark.parametrize("seconds", [29, 30])
def test_a_pod_is_given_the_time_that_its_gateway_takes_to_drain(seconds: int) -> None:
    values = {"config": {"drain_s": seconds - 10}, "terminationGracePeriodSeconds": seconds}
    assert "Deployment" in render(values)
    values["terminationGracePeriodSeconds"] = seconds - 1
    with pytest.raises(helm.HelmError, match=r"ten more than config\.drain_s"):
        render(values)


def test_the_time_to_drain_that_the_chart_assumes_is_the_gateways_own() -> None:
    drain_s = Settings.model_fields["drain_s"].default
    assert drain_s + 10 == default_values()["terminationGracePeriodSeconds"]
    template = (CHART / "templates/_helpers.tpl").read_text("utf-8")
    assert f".Values.config.drain_s | default {drain_s} |" in template


def test_nginx_and_an_ingress_exclude_each_other() -> None:
    ingress = {"ingress": {"enabled": True, "tlsSecret": "tls"}}
    with pytest.raises(helm.HelmError, match="mutual TLS would end at the ingress"):
        render(example("mtls") | ingress)


def test_an_archive_that_is_no_node_is_refused() -> None:
    nginx = example("mtls")["nginx"] | {"offload": {"archives": ["nowhere"]}}
    with pytest.raises(helm.HelmError, match="nowhere, which is no node of kind dicomweb"):
        render(example("mtls") | {"nginx": nginx})


def test_nginx_starts_before_the_gateway_and_ends_after_it() -> None:
    (sidecar,) = [one for one in pod("mtls")["initContainers"] if one["name"] == "nginx"]
    assert sidecar["restartPolicy"] == "Always"


def test_behind_nginx_the_gateway_opens_no_port_and_is_looked_after_through_it() -> None:
    (gateway,) = pod("mtls")["containers"]
    (sidecar,) = [one for one in pod("mtls")["initContainers"] if one["name"] == "nginx"]
    assert "ports" not in gateway
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert gateway[probe]["httpGet"]["port"] == ports["operations"]
    (service,) = rendered("mtls")["Service"]["spec"]["ports"]
    assert (service["name"], service["targetPort"]) == ("https", ports["https"])


def test_health_and_metrics_are_not_published_with_what_callers_ask() -> None:
    service, operations = rendered("mtls")["Service"]["spec"], rendered("mtls")["Service-operations"]["spec"]
    assert service["type"] == "LoadBalancer"
    assert [port["name"] for port in service["ports"]] == ["https"]
    assert operations.get("type", "ClusterIP") == "ClusterIP"
    assert [port["name"] for port in operations["ports"]] == ["operations"]


def test_a_changed_nginx_configuration_rolls_the_pods() -> None:
    annotations = rendered("mtls")["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert "checksum/nginx" in annotations


def test_a_network_policy_lets_out_only_to_what_is_named_and_to_dns() -> None:
    spec = rendered("mtls")["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    ports = [{port["port"] for port in rule["ports"]} for rule in spec["egress"]]
    assert ports == [{53}, *({*rule["ports"]} for rule in example("mtls")["networkPolicy"]["egress"])]


def test_without_named_places_a_network_policy_leaves_the_way_out_open() -> None:
    assert render({"networkPolicy": {"enabled": True}})["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress"]


def test_credentials_of_nodes_are_mounted_as_files() -> None:
    mounts = {one["name"]: one["mountPath"] for one in pod("mtls")["containers"][0]["volumeMounts"]}
    assert mounts["nodes"] == settings(rendered("mtls"))["node_files"]


def test_what_the_collector_of_traces_wants_to_see_comes_from_a_secret() -> None:
    manifests = render({"traces": {"existingSecret": "lianren-traces"}})
    (gateway,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    reference = {"secretKeyRef": {"name": "lianren-traces", "key": "headers"}}
    assert gateway["env"] == [{"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": reference}]


def test_the_dashboard_reaches_grafana_as_it_is() -> None:
    manifest = rendered("production")["ConfigMap-dashboards"]
    assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
    shipped = json.loads((CHART / "dashboards/lianren.json").read_text("utf-8"))
    assert json.loads(manifest["data"]["lianren.json"]) == shipped


def test_the_alerts_reach_prometheus_as_they_are() -> None:
    shipped = helm.values_from_yaml((CHART / "alerts/lianren.yaml").read_text("utf-8"))
    assert rendered("production")["PrometheusRule"]["spec"] == shipped


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
    mounts = {one["name"]: one["mountPath"] for one in pod("default")["containers"][0]["volumeMounts"]}
    assert command == ["serve", "--config", mounts["config"]]


def test_the_image_carries_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_build_gets_every_package_of_the_wheel() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {f"!{package}" for package in packages} <= set(ignored)
