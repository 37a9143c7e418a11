"""The HTTP port of a process: `/` for people, `/metrics` for Prometheus, `/healthz` and `/readyz` for orchestrators."""

import json
import socket
import threading
from collections.abc import Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from worker.errors import ConfigurationError
from worker.observe.health import Health
from worker.observe.page import Page
from worker.observe.status import Status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class Server:
    """Serves in threads of its own from `start` to `stop`, or as a context.

    Args:
        host: the address to listen on: the loopback one unless the outside shall see it (`0.0.0.0`, `::`).
        port: 0 picks a free one, which `port` tells then.
        registry: what `/metrics` shows, in the format that the scraper asks for.
        health: what `/healthz` and `/readyz` answer: 200, or 503 with the reason.
        status: what `/` and `/status.json` show; without, there is no such page.

    Raises:
        ConfigurationError: where the address cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, health: Health, status: Status | None = None
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._health = health
        self._page = Page(status) if status is not None else None
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
            kind: type[WSGIServer] = type("_Server", (_ThreadingServer,), {"address_family": family})
            self._server: WSGIServer = make_server(
                host, port, self._answer, server_class=kind, handler_class=_SilentHandler
            )
        except OSError as error:
            raise ConfigurationError(
                f"metrics: cannot listen on {host} port {port}: {error.strerror or error}. "
                "Set metrics.port (0 picks a free one) or metrics.host"
            ) from error
        self.port: int = self._server.server_port
        # Looking for `stop` ten times a second instead of twice: an orderly end has better things to wait for.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering, and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        if self._page is not None and path in {"/", "/status.json"}:
            return _answer_page(self._page, path, environ.get("REQUEST_METHOD", "GET"), start_response)
        if path == "/healthz":
            reason, status = self._health.why_not_alive(), "200 OK"
        elif path == "/readyz":
            reason, status = self._health.why_not_ready(), "200 OK"
        else:
            pages = "" if self._page is None else "/, /status.json, "
            reason, status = f"there are {pages}/metrics, /healthz and /readyz", "404 Not Found"
        if reason is not None and status == "200 OK":
            status = "503 Service Unavailable"
        body: dict[str, Any] = {"ok": reason is None}
        if reason is not None:
            body["reason"] = reason
        start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(body).encode() + b"\n"]


def _answer_page(page: Page, path: str, method: str, start_response: "StartResponse") -> list[bytes]:
    if method not in {"GET", "HEAD"}:
        start_response("405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Length", "0")])
        return []
    kind = "text/html; charset=utf-8" if path == "/" else "application/json"
    body = page.html() if path == "/" else page.json()
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body))), *page.headers])
    return [body] if method == "GET" else []


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a scraper that hangs does not keep the process from ending

    def server_bind(self) -> None:
        # http.server asks the name server for the host's name here, which can take half a minute, and nobody needs it.
        self.allow_reuse_address = True
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _SilentHandler(WSGIRequestHandler):
    timeout = 10  # seconds for a request to arrive: an idle connection must not hold a thread

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log no requests: a probe every few seconds says nothing."""
