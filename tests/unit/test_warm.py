"""No kernel is compiled while events wait: that takes seconds, and a group gives up members that do not answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_nothing_is_left_to_compile() -> None:
    # In a process of its own: what other tests have made numba compile would count as warm.
    done = subprocess.run([sys.executable, "-m", "tests.support.kernels"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.long
def test_no_kernel_reaches_past_the_end_of_an_array(tmp_path: Path) -> None:
    # Compiled anew, with checks: without them numba reads and writes whatever lies there.
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.support.kernels"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=checked)
    assert done.returncode == 0, done.stderr
