"""No kernel is compiled while events wait: that takes seconds, and a group gives up members that do not answer."""

import subprocess
import sys


def test_nothing_is_left_to_compile() -> None:
    # In a process of its own: what other tests have made numba compile would count as warm.
    done = subprocess.run([sys.executable, "-m", "tests.support.kernels"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
