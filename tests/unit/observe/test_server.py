import http.client
import json
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from worker.errors import ConfigurationError
from worker.observe.health import Health
from worker.observe.history import History
from worker.observe.server import Server
from worker.observe.status import About, Status


def get(port, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def health(now):
    return Health(10, lambda: now[0])


@pytest.fixture
def server(registry, health):
    with Server("127.0.0.1", 0, registry, health) as started:
        yield started


def test_metrics_in_both_formats(server, registry):
    Counter("headrace_x", "A counter", registry=registry).inc(3)
    status, kind, body = get(server.port, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert "headrace_x_total 3.0" in body
    status, kind, body = get(server.port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.split(";")[0] == "application/openmetrics-text"
    assert body.endswith("# EOF\n")


def test_health_and_readiness(server, health, now):
    assert get(server.port, "/healthz")[0] == 200
    status, kind, body = get(server.port, "/readyz")
    assert (status, kind, json.loads(body)) == (503, "application/json", {"ok": False, "reason": "starting"})
    health.set_ready(True)
    assert json.loads(get(server.port, "/readyz")[2]) == {"ok": True}
    now[0] = 11.0
    status, _, body = get(server.port, "/healthz")
    assert status == 503
    assert "run.stall_seconds" in json.loads(body)["reason"]


def test_any_other_path_is_told_what_there_is(server):
    status, _, body = get(server.port, "/")
    assert status == 404
    assert "/metrics" in json.loads(body)["reason"]


def test_an_idle_connection_does_not_keep_others_waiting(server):
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server.port, "/healthz")[0] == 200


def test_a_taken_port_is_told_with_what_to_do(server, registry, health):
    with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1 port {server.port}: .*in use.*Set metrics.port"):
        Server("127.0.0.1", server.port, registry, health)


def test_an_address_that_is_not_ours_is_told(registry, health):
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1"):
        Server("192.0.2.1", 0, registry, health)


def test_the_port_is_free_after_stop(registry, health):
    first = Server("127.0.0.1", 0, registry, health)
    first.start()
    first.stop()
    second = Server("127.0.0.1", first.port, registry, health)
    second.stop()


@pytest.fixture
def shown(registry, health):
    status = Status(About(kind="worker", model="clicks", topics={}), health, History(lambda: 0.0))
    with Server("127.0.0.1", 0, registry, health, status) as started:
        yield started


def ask(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_status_page_and_its_json(shown):
    answer, body = ask(shown.port, "GET", "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body.startswith(b"<!doctype html>")
    assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, body = ask(shown.port, "GET", "/status.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Cache-Control"] == "no-store"
    assert json.loads(body)["about"]["model"] == "clicks"
    assert "/status.json" in json.loads(get(shown.port, "/nowhere")[2])["reason"]


@pytest.mark.parametrize("path", ["/", "/status.json"])
def test_other_methods_than_get(shown, path):
    answer, body = ask(shown.port, "HEAD", path)
    assert (answer.status, body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 100
    answer, body = ask(shown.port, "POST", path)
    assert (answer.status, body, answer.headers["Allow"]) == (405, b"", "GET, HEAD")
