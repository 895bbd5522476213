"""What deploys the service: whole, in step with its commands, its probes and its metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient
from typer.main import get_command

from relgnn.cli import app
from relgnn.serving.metrics import Metrics
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".json"))
METRIC = re.compile(r"\brelgnn_[a-z_]+")
BALANCED = {"(": ")", "{": "}", "[": "]"}


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, Any]:
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def container(kubernetes: dict[str, Any]) -> dict[str, Any]:
    [one] = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    return one  # type: ignore[no-any-return]


def known_metrics() -> set[str]:
    """Names that the service exposes."""
    found = set()
    for family in Metrics()._own.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        found |= {family.name + end for end in suffixes.get(family.type, ("",))}
    return found


def expressions() -> list[str]:
    rules = [rule for group in read("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]
    panels = json.loads((DEPLOY / "grafana/dashboards/relgnn.json").read_text())["panels"]
    return [rule["expr"] for rule in rules] + [
        target["expr"] for panel in panels for target in panel["targets"]
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_parse(path: Path) -> None:
    text = path.read_text()
    assert json.loads(text) if path.suffix == ".json" else list(yaml.safe_load_all(text))


def test_every_expression_is_about_metrics_that_there_are() -> None:
    found = expressions()
    assert len(found) > 12
    used = {name for one in found for name in METRIC.findall(one)} - {"relgnn_resident"}
    assert used <= known_metrics() and len(used) > 6
    for one in found:
        stack: list[str] = []
        for letter in re.sub(r'"[^"]*"', "", one):
            if letter in BALANCED:
                stack.append(BALANCED[letter])
            elif letter in BALANCED.values():
                assert stack.pop() == letter, one
        assert not stack, one


def test_labels_of_expressions_are_those_of_the_metrics() -> None:
    labels = {"route", "method", "status", "reason", "lane", "verdict", "le", "job"}
    for one in expressions():
        for matched in re.findall(r"\{([^}]*)\}", one):
            assert set(re.findall(r"(\w+)\s*[=!]", matched)) <= labels, one
        for grouped in re.findall(r"by \(([^)]*)\)", one):
            assert set(grouped.split(", ")) <= labels, one


def test_what_an_alert_waits_for_is_counted_from_zero() -> None:
    """A series that begins at 1 has had no increase: the first failure would tell nobody."""
    watched = {
        reason for one in expressions() for reason in re.findall(r'increase\(.*reason="(\w+)"', one)
    }
    text = Metrics().exposition().decode()
    assert watched
    assert all(f'relgnn_refused_total{{reason="{one}"}} 0.0' in text for one in watched)


def test_alerts_say_what_and_how_bad() -> None:
    for group in read("prometheus/alerts.yaml")["groups"]:
        names = [rule["alert"] for rule in group["rules"]]
        assert len(set(names)) == len(names)
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"].endswith(".")


def test_the_dashboard_has_a_place_for_every_panel() -> None:
    board = json.loads((DEPLOY / "grafana/dashboards/relgnn.json").read_text())
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len({panel["id"] for panel in board["panels"]}) == len(places) == len(set(places))
    source = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}


def test_compose_names_what_there_is() -> None:
    compose = read("compose.yaml")
    services = compose["services"]
    told = (DEPLOY / "compose.yaml").read_text()
    assert set(services) == {"relgnn", "prometheus", "grafana"}
    assert (DEPLOY / services["relgnn"]["build"]["context"] / "deploy/Containerfile").is_file()
    for one in services.values():
        assert set(one.get("secrets", ())) <= set(compose["secrets"])
        for volume in one.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                made = f"mkdir -p deploy/{source[2:]}" in told
                assert made or (DEPLOY / source).is_dir()
            elif not source.startswith("${"):
                assert source in compose["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in one["ports"])
    scraped = read("prometheus/prometheus.yaml")
    [target] = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in services
    assert all((DEPLOY / "prometheus" / name).is_file() for name in scraped["rule_files"])


def test_kubernetes_objects_belong_together(
    kubernetes: dict[str, Any], container: dict[str, Any]
) -> None:
    assert set(kubernetes) == {
        "Deployment", "PersistentVolumeClaim", "Service", "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    }  # fmt: skip
    deployment = kubernetes["Deployment"]
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["Service"]["spec"]["selector"] == labels
    assert kubernetes["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaler = kubernetes["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert scaler["minReplicas"] > kubernetes["PodDisruptionBudget"]["spec"]["minAvailable"]
    [port] = container["ports"]
    assert kubernetes["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["resources"]["requests"]["cpu"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_probes_and_arguments_are_the_services_own(
    container: dict[str, Any], client: TestClient
) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert client.get(container[probe]["httpGet"]["path"]).status_code == 200
    options = {
        option for parameter in get_command(app).commands["serve"].params
        for option in getattr(parameter, "opts", ())
    }  # fmt: skip
    text = (DEPLOY / "Containerfile").read_text()
    started = json.loads(text.rpartition("CMD ")[2])
    for arguments in (container["args"], started):
        assert {word for word in arguments if word.startswith("--")} <= options


def test_the_image_is_built_from_what_there_is() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)
    assert "USER 10001" in text and text.count("FROM ") == 2
