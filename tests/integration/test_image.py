"""What the Dockerfile does, without an engine: its steps are run in a folder, and what they made is used read-only."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import frozen
from tests.support.dockerfile import stages, variables

ROOT = Path(__file__).parents[2]
WARM = """
from numba.core.dispatcher import Dispatcher
import gc
import worker
from worker import warm
warm.compile_all()
kernels = [found for found in gc.get_objects() if isinstance(found, Dispatcher) and found.__module__[:7] == "worker."]
print(worker.__file__)
print(sum(sum(found.stats.cache_hits.values()) for found in kernels))
print(sorted(found.__qualname__ for found in kernels if found.stats.cache_misses))
"""


@pytest.mark.timeout(1_500)  # packages are fetched, and all kernels are compiled
def test_what_is_built_runs_without_writing(tmp_path: Path) -> None:
    # Given the files that are copied, and the steps of the stage that builds
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    found = stages(ROOT / "deploy/Dockerfile", architecture)
    root, here = tmp_path / "root", Path("/")
    tools = tmp_path / "tools"  # stands for the Python of the base image
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    told = {name: value for name, value in os.environ.items() if name[:6] not in ("PYTHON", "NUMBA_", "VIRTUA")}
    told |= {"PATH": f"{tools / 'bin'}{os.pathsep}{os.environ['PATH']}", **variables(found, "build")}

    # When they are run below a folder of their own
    for word, rest in found["build"].steps:
        place = root / here.relative_to("/")
        if word == "WORKDIR":
            here = here / rest
            (root / here.relative_to("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy2(ROOT / source, place / target)
        elif word == "RUN":
            inside = rest.replace("/opt/headrace", f"{root}/opt/headrace")
            done = subprocess.run(
                ["/bin/sh", "-ec", inside], cwd=place, env=told, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{inside}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    # Then what the last stage takes over runs where nothing can be written, with every kernel compiled
    installed = root / "opt/headrace"
    image = {name: value for name, value in variables(found, "").items() if name != "PATH"}
    with frozen.read_only(installed):
        done = frozen.run(installed, "-c", WARM, python=installed / "bin/python", variables=image)
        assert done.returncode == 0, done.stderr
        where, loaded, compiled = done.stdout.splitlines()
        assert where.startswith(str(installed))
        assert int(loaded) > 20
        assert compiled == "[]"
        helped = frozen.run(
            installed, installed / "bin/headrace", "--help", python=installed / "bin/python", variables=image
        )
        assert "simulate" in helped.stdout, helped.stderr
    assert not list(installed.rglob("site-packages/pip")), "a build tool is in the image"
