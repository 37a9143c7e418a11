"""The tree holds what it should, and nothing of the machine that it was made on."""

import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = {
    "worker", "schemas", "deploy", "tests",
    "Makefile", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements.lock",
}  # fmt: skip
IGNORED = [
    line.strip("/")
    for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    if line and line[0] != "#"
]
# Homes and working folders of a machine, and hosts of package registries: none belongs into what others clone.
OURS = re.compile(
    r"(?<![\w.}$)])/(?:work|root|home|Users)/|https?://[^\s/\"']*(?:pypi|pythonhosted|maven\.org|maven2|nexus|artifactory|mirror)",
    re.IGNORECASE,
)


def files() -> list[Path]:
    """Give the files that are tracked; where git cannot tell, those that it would not ignore."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # an archive, or a checkout that is another user's
        return list(walk(ROOT))
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name == ".git" or any(fnmatch(path.name, pattern) for pattern in IGNORED):
            continue
        if path.is_dir():
            yield from walk(path)
        else:
            yield path


FILES = files()


def test_the_top_level_holds_what_it_should() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert {name for name in found if not name.startswith(".")} <= TOP
    assert [name for name in TOP if not (ROOT / name).exists()] == []


def test_nothing_of_a_machine_is_in_the_tree() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in FILES
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if OURS.search(line)
    ]
    assert found == []


def test_what_would_be_found_is_found() -> None:
    for bad in ('see "/home/ann/x"', "cd /root/x", "index https://pypi.org/simple", "http://mirror.example/maven2/"):
        assert OURS.search(bad), bad
    for good in ("https://grouplens.org/datasets", "tests/work/x", "$HOME/.cache", "http://maven.apache.org/POM/4.0.0"):
        assert not OURS.search(good), good


def test_the_lock_names_versions_and_hashes_only() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert re.findall(r"^(?![a-z0-9][a-z0-9._-]*==)\S.*", lock, re.MULTILINE) == []
