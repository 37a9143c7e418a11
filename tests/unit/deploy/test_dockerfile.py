import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

import worker
from tests.support import frozen
from tests.support.dockerfile import stages, variables
from worker.settings import load

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy/Dockerfile"
IGNORE = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
ARCHITECTURES = {"amd64": "x86-64-v2", "arm64": "generic"}
FOUND = stages(DOCKERFILE, "amd64")


def steps(stage: str, word: str) -> list[str]:
    return [rest for found, rest in FOUND[stage].steps if found == word]


def pins(path: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", path.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run([program, "--no-color", path], capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing(tmp_path: Path) -> None:
    done = hadolint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.read_text().replace("WORKDIR /src", "WORKDIR src"))
    assert "DL3000" in hadolint(wrong).stdout


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    sources = [name for rest in steps("build", "COPY") for name in rest.split()[:-1]]
    assert len(sources) == 6
    for name in sources:
        assert (ROOT / name).exists()
        assert sent(name), f"{name} is not let in by .dockerignore"
    for name in (".git", ".venv", "tests", "headrace.toml", "deploy/compose.yaml", "worker/model/__pycache__"):
        assert not sent(name), name


def sent(name: str) -> bool:
    """Tell as Docker does: the last pattern that matches decides."""
    let_in = True
    for pattern in IGNORE:
        bare = pattern.removeprefix("!")
        patterns = [bare, f"{bare}/*", bare.removeprefix("**/"), f"*/{bare.removeprefix('**/')}"]
        if any(fnmatch.fnmatch(name, found) for found in (patterns if "**" in bare else patterns[:2])):
            let_in = pattern[0] == "!"
    return let_in


def test_the_image_is_told_as_what_it_is() -> None:
    (labels,) = steps("", "LABEL")
    assert f'org.opencontainers.image.version="{worker.__version__}"' in labels
    assert steps("", "USER") == ["65532:65532"]
    assert steps("", "ENTRYPOINT") == ['["headrace"]']
    assert steps("", "RUN") == []  # no shell runs in it, and no build tool is in it


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_are_compiled_for_the_processors_that_they_run_on(architecture: str) -> None:
    found = stages(DOCKERFILE, architecture)
    assert found["build"].base == found[""].base == f"target-{architecture}"
    # The same at both times, or else numba finds none of those that were compiled.
    for stage in ("build", ""):
        told = variables(found, stage)
        assert (told["NUMBA_CPU_NAME"], told["NUMBA_CPU_FEATURES"]) == (ARCHITECTURES[architecture], "")


def test_the_configuration_knows_what_the_image_sets() -> None:
    told = variables(FOUND, "")
    found = load(None, told | {"HEADRACE_FEATURES__USER__KIND": "categorical"})
    assert (found.metrics.host, found.log.format) == ("0.0.0.0", "json")  # noqa: S104 - in a container
    assert steps("", "EXPOSE") == [str(found.metrics.port)]
    assert {name: told[name] for name in frozen.LOCATOR} == frozen.LOCATOR


def test_its_locks_are_parts_of_the_one_that_is_tested() -> None:
    tested, runs, builds = (
        pins(ROOT / name) for name in ("requirements.lock", "deploy/image/requirements.lock", "deploy/image/build.lock")
    )
    assert {"numba", "pyarrow", "confluent-kafka"} <= runs.keys()
    assert "hatchling" in builds
    for name, versions in (runs | builds).items():
        assert versions <= tested[name], f"{name}: run `make lock`"
    for name in ("pytest", "mypy", "hatchling"):
        assert name not in runs
