"""Fixtures shared by all tests."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from deploy.broker import Broker, broker
from deploy.prometheus.programs import Programs, obtain
from tests.support.dealing import deal
from tests.support.fetched import fetched

_INTEGRATION = Path(__file__).parent / "integration"

# Scripts that run with packages of an environment of their own (`make bench`).
collect_ignore = ["bench/peers"]

# The first example of a test may load kernels from numba's cache, or compile them.
hypothesis.settings.register_profile("headrace", deadline=None)
hypothesis.settings.load_profile("headrace")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the tests out to the workers of pytest-xdist, if there are any; see `dealing`."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = deal(items, workers, slow=_is_slow, file=lambda item: str(item.path))


def _is_slow(item: pytest.Item) -> bool:
    waits = "kafka" in getattr(item, "fixturenames", ()) or _INTEGRATION in item.path.parents
    return waits or item.get_closest_marker("long") is not None


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """One broker for all integration tests. Who stops nodes, or needs three, starts one of its own."""
    with broker(brief=True) as started:
        yield started


@pytest.fixture(scope="session")
def prometheus() -> Programs:
    """Prometheus and its tool. Where they are not to be had, tests that need them are skipped; in CI they fail."""
    return fetched(obtain)


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A prefix for topics, groups and transactional ids that no other test, and no other run, uses."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")
    return f"{name[:60]}-{secrets.token_hex(4)}"
