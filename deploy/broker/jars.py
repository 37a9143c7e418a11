"""The jars of the local broker: resolved by Maven once, then kept in a cache folder."""

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.broker import properties
from deploy.fetching import UnavailableError, cache_folder, fetch, tail

POM = Path(__file__).with_name("pom.xml")
OLDEST_JAVA = 17  # what Kafka 4 needs
RESOLVE_SECONDS = 600  # 44 MB over a slow line
BOOTSTRAP = "bootstrap.checkpoint"
# Any id does: the cluster lives as long as its folder. It is fixed because the bootstrap file is made only once.
CLUSTER_ID = "aGVhZHJhY2UtYnJva2VyMA"


class NoJvmBrokerError(Exception):
    """A broker cannot be run on a local JVM; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Everything that a local broker is started from.

    Attributes:
        java: the program.
        classpath: the jars.
        bootstrap: the record of feature levels that a formatted node holds (Kafka's own defaults).
    """

    java: str
    classpath: str
    bootstrap: Path


def kafka_version() -> str:
    """Read the version of Kafka that the pom names."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text())
    if found is None:
        raise ValueError(f"{POM} names no kafka.version")
    return found[1]


def obtain() -> Distribution:
    """Find Java and the jars; the jars are fetched if the cache does not hold those of this pom.

    Two processes may ask at once: one fetches, the other waits. What the cache holds is always whole.

    Raises:
        NoJvmBrokerError: there is no usable Java, no Maven, or Maven failed.
    """
    java = find_java()
    key = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    cache = cache_folder()
    folder = cache / f"kafka-{kafka_version()}-{key}"
    if not folder.is_dir():
        with _locked(cache / "kafka.lock"):
            if not folder.is_dir():
                for left_over in cache.glob("*.partial"):  # its maker was killed: nobody else holds the lock
                    shutil.rmtree(left_over, ignore_errors=True)
                partial = Path(tempfile.mkdtemp(prefix=folder.name, suffix=".partial", dir=cache))
                _fetch(partial / "jars", cache)
                _write_bootstrap(java, partial)
                partial.chmod(0o755)  # other users of this checkout may share it
                partial.rename(folder)
    return Distribution(java=java, classpath=f"{folder}/jars/*", bootstrap=folder / BOOTSTRAP)


def find_java() -> str:
    """Find a Java that is new enough: in `JAVA_HOME`, else on the path.

    Raises:
        NoJvmBrokerError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home and Path(home, "bin", "java").is_file() else shutil.which("java")
    if java is None:
        raise NoJvmBrokerError("no java on the path")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    if answer.returncode != 0 or found is None:
        raise NoJvmBrokerError(f"{java} -version failed: {tail(answer.stderr)}")
    if int(found[1]) < OLDEST_JAVA:
        raise NoJvmBrokerError(f"{java} is version {found[1]}, and Kafka needs {OLDEST_JAVA} or newer")
    return java


def _fetch(jars: Path, cache: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoJvmBrokerError("no mvn (Maven) on the path to fetch Kafka's jars with")
    print(f"broker: fetching the jars of Kafka {kafka_version()} with Maven, once ...", file=sys.stderr, flush=True)
    command = [maven, "-q", "-B", "-Dstyle.color=never", "-f", str(POM), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    if not _home_is_writable():
        command.append(f"-Dmaven.repo.local={cache / 'maven'}")
    try:
        fetch(command, seconds=RESOLVE_SECONDS, missing="Kafka's jars could not be fetched")
    except UnavailableError as error:
        raise NoJvmBrokerError(str(error)) from None


def _write_bootstrap(java: str, folder: Path) -> None:
    """Format a node that is never started, and keep what formatting decides: the feature levels.

    Each node formatted later gets a copy, which spares it the start of a JVM.
    """
    data = folder / "formatted"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": properties.voters({1: "127.0.0.1:9093"}),
        "controller.listener.names": "CONTROLLER",
        "listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
        "log.dirs": str(data),
    }
    config = folder / "format.properties"
    config.write_text(properties.render(settings))
    answer = subprocess.run(
        [java, "-cp", f"{folder}/jars/*", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0 or not (data / BOOTSTRAP).is_file():
        raise NoJvmBrokerError(f"Kafka's storage tool failed:\n{tail(answer.stdout + answer.stderr)}")
    (data / BOOTSTRAP).rename(folder / BOOTSTRAP)
    shutil.rmtree(data)
    config.unlink()


def _home_is_writable() -> bool:
    """Tell whether Maven can keep its repository in the home; Java looks the home up by user, not by $HOME."""
    try:
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return False
    place = home / ".m2"
    return os.access(place if place.is_dir() else home, os.W_OK)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that ends with this process, whatever ends it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
