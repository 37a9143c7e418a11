"""Where Prometheus's programs come from: the path, the cache, or a package that is fetched once."""

import shutil
from pathlib import Path

import pytest

from deploy.fetching import UnavailableError
from deploy.prometheus.programs import obtain

# Stands in for apt: its first download fails where the machine has no package lists.
APT = """#!/bin/sh
echo "$@" >> {calls}
case "$*" in
  *"Dir::State::lists"*update) ;;
  *"Dir::State::lists"*download*) touch prometheus_1_amd64.deb ;;
  *download*) [ "{lists}" = yes ] && touch prometheus_1_amd64.deb || {{ echo "E: no package lists"; exit 100; }} ;;
esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin" && for name in {programs}; do touch "$3/usr/bin/$name"; done
"""
BROKEN = """#!/bin/sh
echo "E: the network is down"
exit 100
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a shell, an empty cache, and what a test puts into its folder of programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "touch", "mkdir"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def put(machine: Path, name: str, script: str) -> Path:
    path = machine / "bin" / name
    path.write_text(script)
    path.chmod(0o755)
    return path


def put_debian(machine: Path, *, lists: str = "yes", programs: str = "promtool prometheus") -> None:
    put(machine, "apt-get", APT.format(calls=machine / "calls", lists=lists))
    put(machine, "dpkg-deb", DPKG.format(programs=programs))


def test_programs_on_the_path_are_taken(machine):
    tool, server = put(machine, "promtool", "#!/bin/sh"), put(machine, "prometheus", "#!/bin/sh")
    found = obtain()
    assert (found.promtool, found.prometheus) == (tool, server)


@pytest.mark.parametrize(("lists", "calls"), [("yes", 1), ("no", 3)])
def test_the_package_is_fetched_once_with_or_without_package_lists(machine, lists, calls):
    put_debian(machine, lists=lists)
    found = obtain()
    assert found.promtool.is_file()
    assert found.prometheus.is_file()
    assert obtain() == found
    assert len((machine / "calls").read_text().splitlines()) == calls
    assert [path.name for path in (machine / "cache").iterdir()] == ["prometheus"]  # nothing else is left behind


@pytest.mark.usefixtures("machine")
def test_without_apt_it_says_what_is_missing():
    with pytest.raises(UnavailableError, match="no apt-get to fetch Debian's package with: install Prometheus"):
        obtain()


def test_what_apt_says_is_told_and_nothing_is_left_behind(machine):
    put(machine, "apt-get", BROKEN)
    put(machine, "dpkg-deb", BROKEN)
    with pytest.raises(UnavailableError, match="the network is down"):
        obtain()
    assert list((machine / "cache").iterdir()) == []


def test_a_package_that_lacks_a_program_is_not_kept(machine):
    put_debian(machine, programs="prometheus")
    with pytest.raises(UnavailableError, match="holds no promtool"):
        obtain()
    assert list((machine / "cache").iterdir()) == []
