import json
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from deploy.fetching import UnavailableError
from deploy.kubernetes import __main__ as rule
from deploy.kubernetes import operators, programs
from tests.support.fetched import fetched
from tests.support.settings import configure
from worker import run

KUBERNETES = Path(rule.__file__).parent
OVERLAYS = ("base", "production", "keda")


@cache
def text_of(overlay: str) -> str:
    command = [*fetched(programs.obtain), KUBERNETES / overlay]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def resources(overlay: str) -> dict[str, list[dict]]:
    found = defaultdict(list)
    for resource in yaml.safe_load_all(text_of(overlay)):
        found[resource["kind"]].append(resource)
    return found


def one(overlay: str, kind: str) -> dict:
    (found,) = resources(overlay)[kind]
    return found


def pods(overlay: str) -> list[dict]:
    found = resources(overlay)
    return [resource["spec"]["template"] for kind in ("StatefulSet", "Job") for resource in found[kind]]


def worker_of(overlay: str) -> dict:
    (container,) = one(overlay, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return container


def environment_of(container: dict) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "from elsewhere") for variable in container["env"]}


def configuration(overlay: str):
    text = one(overlay, "ConfigMap")["data"]["headrace.toml"]
    return configure(text, environment_of(worker_of(overlay)))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_resources_are_as_the_schemas_of_kubernetes_have_them(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(text_of(overlay))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    unknown = set(re.findall(r"find schema for kind (\w+)", told))
    assert unknown == resources(overlay).keys() & operators.KINDS.keys()  # these have tests of their own, below
    assert told.count(" passed for resource ") == sum(
        len(found) for kind, found in resources(overlay).items() if kind not in operators.KINDS
    )


@cache
def schemas() -> dict[tuple[str, str], dict]:
    return fetched(operators.schemas)


def added(overlay: str) -> list[dict]:
    found = resources(overlay)
    return [resource for kind in operators.KINDS for resource in found.get(kind, [])]


@pytest.mark.parametrize("overlay", ["production", "keda"])
def test_what_operators_read_is_as_their_schemas_have_it(overlay: str) -> None:
    assert added(overlay)
    for resource in added(overlay):
        jsonschema.validate(resource, schemas()[resource["apiVersion"], resource["kind"]])


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("ServiceMonitor", "endpoints", "endpoint"),
        ("ScaledObject", "minReplicaCount", "minReplicas"),
        ("PrometheusRule", "alert", "alarm"),
        ("TriggerAuthentication", "secretTargetRef", "secretRef"),
    ],
)
def test_a_field_that_no_operator_knows_is_found(kind: str, right: str, wrong: str) -> None:
    (resource,) = (it for it in added("keda") if it["kind"] == kind)
    written = json.dumps(resource)
    assert f'"{right}": ' in written
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            json.loads(written.replace(f'"{right}": ', f'"{wrong}": ')), schemas()[resource["apiVersion"], kind]
        )


def test_a_field_that_does_not_exist_is_found(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text_of("base").replace("podManagementPolicy", "podManagmentPolicy"))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", path]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_configuration_is_good(overlay: str) -> None:
    found = configuration(overlay)
    assert found.kafka.instance_id == "from elsewhere"  # the name of the pod
    variables = {variable["name"]: variable for variable in worker_of(overlay)["env"]}
    assert variables["HEADRACE_KAFKA__INSTANCE_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize("overlay", ["production", "keda"])
def test_no_secret_stands_in_a_file(overlay: str) -> None:
    assert "Secret" not in resources(overlay)
    for pod in pods(overlay):
        (container,) = pod["spec"]["containers"]
        (password,) = [variable for variable in container["env"] if "PASSWORD" in variable["name"]]
        assert password["valueFrom"] == {"secretKeyRef": {"name": "headrace-kafka", "key": "password"}}
        assert environment_of(container)["HEADRACE_KAFKA__CLIENT__SECURITY_PROTOCOL"] == "SASL_SSL"


def test_a_worker_has_the_time_that_it_gives_itself_to_end() -> None:
    grace = one("base", "StatefulSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > configuration("base").run.shutdown_seconds + run._CLOSE_SECONDS


def test_the_worker_speaks_before_the_kubelet_does() -> None:
    probe = worker_of("base")["livenessProbe"]
    # /healthz says no from run.stall_seconds on; within a tenth of that the watchdog looks, and ends the process.
    assert probe["periodSeconds"] * (probe["failureThreshold"] - 1) > configuration("base").run.stall_seconds / 10


def test_probes_and_services_and_monitors_meet_the_port_that_is_served() -> None:
    worker = worker_of("base")
    (port,) = worker["ports"]
    assert port == {"name": "metrics", "containerPort": configuration("base").metrics.port}
    served = (KUBERNETES.parents[1] / "worker/observe/server.py").read_text()
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert worker[probe]["httpGet"] == {"path": path, "port": "metrics"}
        assert f'path == "{path}"' in served
    (service,) = one("base", "Service")["spec"]["ports"]
    assert (service["name"], service["targetPort"]) == ("metrics", "metrics")
    (ingress,) = one("base", "NetworkPolicy")["spec"]["ingress"]
    assert ingress["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    (endpoint,) = one("production", "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_the_pods_and_no_others(overlay: str) -> None:
    labels = {"app.kubernetes.io/name": "headrace"}
    found = resources(overlay)
    assert one(overlay, "StatefulSet")["spec"]["template"]["metadata"]["labels"] == labels
    assert one(overlay, "Service")["spec"]["selector"] == labels
    assert one(overlay, "Service")["metadata"]["name"] == one(overlay, "StatefulSet")["spec"]["serviceName"]
    assert one(overlay, "PodDisruptionBudget")["spec"]["selector"] == {"matchLabels": labels}
    assert one(overlay, "NetworkPolicy")["spec"]["podSelector"] == {"matchLabels": labels}
    for monitor in found["ServiceMonitor"]:
        assert monitor["spec"]["selector"] == {"matchLabels": labels}
        assert monitor["spec"]["jobLabel"] in one(overlay, "Service")["metadata"]["labels"]
    for job in found["Job"]:
        assert job["spec"]["template"]["metadata"]["labels"] != labels


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_may_do_nothing_that_they_need_not(overlay: str) -> None:
    for pod in pods(overlay):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert "memory" in container["resources"]["limits"]
        # The one file is where the image looks for it, and Python keeps nothing.
        assert container["volumeMounts"][0]["mountPath"] == "/etc/headrace"
        assert spec["volumes"][0]["configMap"]["name"] == one(overlay, "ConfigMap")["metadata"]["name"]


@pytest.mark.parametrize("overlay", ["production", "keda"])
def test_images_have_a_registry_and_a_tag(overlay: str) -> None:
    for pod in pods(overlay):
        assert re.fullmatch(r"[^/]+\.[^/]+/.+:\d+\.\d+\.\d+", pod["spec"]["containers"][0]["image"])


def test_keda_asks_about_what_the_workers_read() -> None:
    (scaled,) = resources("keda")["ScaledObject"]
    (trigger,) = scaled["spec"]["triggers"]
    found = configuration("keda")
    told = trigger["metadata"]
    assert (told["topic"], told["consumerGroup"]) == (found.events.topic, found.kafka.group)
    assert (told["bootstrapServers"], told["offsetResetPolicy"]) == (found.kafka.bootstrap_servers, found.events.start)
    (job,) = resources("keda")["Job"]
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert scaled["spec"]["maxReplicaCount"] == int(arguments[arguments.index("--partitions") + 1])
    (login,) = resources("keda")["TriggerAuthentication"]
    assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
    target = scaled["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", one("keda", "StatefulSet")["metadata"]["name"])
    assert "replicas" not in one("keda", "StatefulSet")["spec"]  # or each `apply` would set KEDA's number back


def test_the_operator_gets_the_rules_as_they_are() -> None:
    made = rule.render(rule.RULES.read_text(encoding="utf-8"))
    assert rule.RESOURCE.read_text(encoding="utf-8") == made, "run `python -m deploy.kubernetes`"
    assert one("production", "PrometheusRule")["spec"] == yaml.safe_load(rule.RULES.read_text(encoding="utf-8"))


def test_without_any_program_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    with pytest.raises(UnavailableError, match="install kubectl"):
        programs.obtain()
