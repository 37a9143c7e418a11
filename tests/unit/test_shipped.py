import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker
from tests.support import frozen

# What a process had to compile, since it was not shipped.
COMPILED = """
import gc
from numba.core.dispatcher import Dispatcher
from worker import warm
warm.compile_all()
kernels = [found for found in gc.get_objects() if isinstance(found, Dispatcher) and found.__module__[:7] == "worker."]
print(sum(sum(found.stats.cache_hits.values()) for found in kernels))
print(sorted(found.__qualname__ for found in kernels if found.stats.cache_misses))
"""
EXP = "from worker.model.arithmetic import exp; print(exp(0.7).hex(), sum(exp.stats.cache_misses.values()))"


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Path]:
    """The package with its kernels, as an image has it."""
    source = Path(worker.__file__).parent
    shutil.copytree(source, tmp_path / "worker", ignore=shutil.ignore_patterns("*.tmp.*", "*.pyc"))
    with frozen.read_only(tmp_path):
        yield tmp_path


def test_a_worker_finds_every_kernel_where_it_cannot_write(shipped: Path) -> None:
    done = frozen.run(shipped, "-c", COMPILED, variables=frozen.LOCATOR)
    assert done.returncode == 0, done.stderr
    loaded, compiled = done.stdout.splitlines()
    assert int(loaded) > 20
    assert compiled == "[]"
    assert frozen.run(shipped, "-m", "worker", "--help", variables=frozen.LOCATOR).returncode == 0


def test_without_it_numba_gives_up_there(shipped: Path) -> None:
    done = frozen.run(shipped, "-c", EXP)
    assert done.returncode == 1
    assert "no locator available" in done.stderr  # else the module is needed no longer


def test_a_kernel_that_was_not_shipped_is_compiled_and_not_kept(shipped: Path) -> None:
    before = sorted(shipped.rglob("*"))
    known = frozen.run(shipped, "-c", EXP, variables=frozen.LOCATOR)
    # Another processor's kernels are others to numba; what they compute is the same to the bit.
    other = frozen.run(shipped, "-c", EXP, variables=frozen.LOCATOR | {"NUMBA_CPU_NAME": "generic"})
    assert (known.returncode, other.returncode) == (0, 0), other.stderr
    value, compiled = other.stdout.split()
    assert known.stdout.split()[0] == value
    assert int(compiled) == 1
    assert sorted(shipped.rglob("*")) == before


def test_where_nothing_was_shipped_numba_is_told(shipped: Path) -> None:
    with_nothing = shipped.parent / "bare"
    shutil.copytree(shipped / "worker", with_nothing / "worker", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [with_nothing, *with_nothing.rglob("*")]:
        path.chmod(0o755)
    with frozen.read_only(with_nothing):
        done = frozen.run(with_nothing, "-c", EXP, variables=frozen.LOCATOR)
    assert done.returncode == 1
    assert "no locator available" in done.stderr
