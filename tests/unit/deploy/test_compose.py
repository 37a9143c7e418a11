import re
import subprocess
import sys
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from deploy.broker import jars
from tests.support.settings import configure
from tests.support.shown import DEPLOY
from worker.cli import headrace
from worker.observe.health import Health
from worker.observe.server import Server

COMPOSE = DEPLOY / "compose.yaml"
FOUND = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES = FOUND["services"]
WORKERS = ("worker-1", "worker-2")
OURS = ("topics", *WORKERS, "simulate")


def judged(path: Path) -> int:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_it_is_as_the_schema_of_compose_has_it(tmp_path: Path) -> None:
    assert judged(COMPOSE) == 0
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:"))
    assert judged(wrong) != 0


def test_what_is_mounted_is_there_and_read_only() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    files = [volume for volume in mounted if volume.startswith(".")]
    assert len(files) >= 8
    for volume in files:
        source, target, mode = volume.split(":")
        assert (DEPLOY / source).exists(), source
        assert (target[0], mode) == ("/", "ro")
    assert {volume.split(":")[0] for volume in mounted} - {volume.split(":")[0] for volume in files} == set(
        FOUND["volumes"]
    )
    build = SERVICES["topics"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_ports_are_open_to_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == len({port.split(":")[1] for port in published}) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_are_pinned_and_kafka_is_the_one_that_is_tested_with() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert images["kafka"] == f"apache/kafka:{jars.kafka_version()}"
    assert {images[name] for name in OURS} == {"headrace:compose"}
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for name, image in images.items() if name not in OURS)
    # One of them builds it, and all others wait for that one.
    assert [name for name in OURS if "build" in SERVICES[name]] == ["topics"]
    assert all(reaches(name, "topics") for name in OURS)


def reaches(service: str, other: str) -> bool:
    return service == other or any(reaches(name, other) for name in SERVICES[service].get("depends_on", ()))


def test_each_waits_for_what_it_needs_in_a_form_that_comes() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name], name
            else:
                assert how["condition"] == "service_completed_successfully"
                assert "restart" not in SERVICES[name], name
    assert all(reaches("simulate", name) for name in ("kafka", "topics", *WORKERS))


def test_commands_are_ones_that_there_are() -> None:
    for name in OURS:
        arguments = SERVICES[name].get("command", ["run"])
        command, rest = headrace, list(arguments)
        while rest and hasattr(command, "commands") and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        command.make_context(name, rest)  # raises where an option does not exist, or its value is none


def test_the_configuration_is_good_and_all_use_the_same() -> None:
    mounts = {tuple(SERVICES[name]["volumes"]) for name in OURS}
    ((mount,),) = mounts
    source, target, _ = mount.split(":")
    assert target == "/etc/headrace/headrace.toml"
    found = configure((DEPLOY / source).read_text(encoding="utf-8"), {})
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INTERNAL://{found.kafka.bootstrap_servers}" in listeners.split(",")
    assert not any("environment" in SERVICES[name] for name in OURS)
    # Fields that are sent, and no others.
    assert set(found.features) == {"user", "item", "hour", "device", "slot"}
    for name in WORKERS:
        grace = SERVICES[name]["stop_grace_period"]
        assert float(grace.removesuffix("s")) > found.run.shutdown_seconds + 5
        assert SERVICES[name]["ports"][0].endswith(f":{found.metrics.port}")


def test_workers_are_asked_whether_they_are_ready() -> None:
    *program, check = SERVICES["worker-1"]["healthcheck"]["test"]
    assert program == ["CMD", "python", "-c"]
    health = Health(60, lambda: 0.0)
    with Server("127.0.0.1", 0, CollectorRegistry(), health) as server:
        here = check.replace(":9464/", f":{server.port}/")
        assert here != check
        codes = []
        for ready in (False, True):
            health.set_ready(ready)
            codes.append(subprocess.run([sys.executable, "-c", here], capture_output=True, check=False).returncode)
    assert codes == [1, 0]


def test_prometheus_scrapes_the_workers_as_the_dashboards_expect(prometheus) -> None:
    path = DEPLOY / "compose/prometheus.yaml"
    ours, general = (yaml.safe_load(found.read_text()) for found in (path, DEPLOY / "prometheus/prometheus.yaml"))
    (job,) = ours.pop("scrape_configs")
    general.pop("scrape_configs")
    assert ours == general
    assert job == {"job_name": "headrace", "static_configs": [{"targets": [f"{name}:9464" for name in WORKERS]}]}
    subprocess.run([prometheus.promtool, "check", "config", "--syntax-only", path], check=True, capture_output=True)


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    grafana = SERVICES["grafana"]
    assert grafana["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/headrace.yaml").read_text())["providers"]
    targets = [volume.split(":")[1] for volume in grafana["volumes"]]
    assert targets == ["/etc/grafana/provisioning", provider["options"]["path"]]
