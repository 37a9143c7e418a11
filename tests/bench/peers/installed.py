"""The peers' own environment: their pins exclude ours. What cannot be installed is named with the reason."""

import hashlib
import subprocess
import sys
from pathlib import Path

from deploy.fetching import cache_folder

REQUIREMENTS = Path("tests/bench/peers.txt")
TORCH = "torch==2.15.0"  # not among the requirements: with what it brings along it takes gigabytes
_INSTALL_SECONDS = 600
_IMPORT_SECONDS = 120


class Environment:
    """A virtual environment in the cache folder, made where it is not there yet."""

    def __init__(self) -> None:
        digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
        self._folder = cache_folder() / f"peers-{digest}"
        self.python = self._folder / "bin" / "python"

    def missing(self, packages: tuple[str, ...], *, wanted: bool = True) -> str | None:
        """Install packages if need be; gives the reason where they cannot be had."""
        if not self.python.exists():
            failed = _failure([sys.executable, "-m", "venv", str(self._folder)])
            if failed is not None:
                return f"no virtual environment: {failed}"
        names = [package.partition("==")[0].replace("-", "_") for package in packages]
        imports = ["import " + ", ".join({"scikit_learn": "sklearn"}.get(name, name) for name in names)]
        check = [str(self.python), "-W", "ignore", "-c", *imports]
        if _failure(check, _IMPORT_SECONDS) is None:
            return None
        if not wanted:
            return "not asked for: make bench PEERS=torch installs it (gigabytes)"
        install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", str(self.python)]
        return _failure([*install, "--constraint", str(REQUIREMENTS), *packages]) or _failure(check, _IMPORT_SECONDS)


def _failure(command: list[str], seconds: float = _INSTALL_SECONDS) -> str | None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"not done within {seconds:g} s"
    except OSError as error:
        return str(error)
    return None if ended.returncode == 0 else (ended.stderr.strip().splitlines() or ["no reason given"])[-1][:300]
