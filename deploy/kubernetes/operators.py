"""Finds the schemas of the kinds that operators add, in their sources, which Go's registry has."""

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.fetching import UnavailableError, cache_folder, fetch

_PROMETHEUS: Final = (
    "github.com/prometheus-operator/prometheus-operator",
    "v0.92.1",
    "example/prometheus-operator-crd",
)
_KEDA: Final = ("github.com/kedacore/keda/v2", "v2.18.1", "config/crd/bases")
KINDS: Final = {
    "PrometheusRule": (*_PROMETHEUS, "monitoring.coreos.com_prometheusrules.yaml"),
    "ServiceMonitor": (*_PROMETHEUS, "monitoring.coreos.com_servicemonitors.yaml"),
    "ScaledObject": (*_KEDA, "keda.sh_scaledobjects.yaml"),
    "TriggerAuthentication": (*_KEDA, "keda.sh_triggerauthentications.yaml"),
}
_DOWNLOAD_SECONDS = 300


def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """Give the JSON schema of each kind, by API version and kind; a field that it does not name is an error.

    Raises:
        UnavailableError: they are not in the cache, and cannot be fetched.
    """
    found = {}
    for kind in KINDS:
        definition = yaml.safe_load(_definition(kind).read_text())["spec"]
        for version in definition["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            found[f"{definition['group']}/{version['name']}", kind] = _strict(schema)
    return found


def _definition(kind: str) -> Path:
    module, version, folder, name = KINDS[kind]
    place = cache_folder() / f"operators-{_PROMETHEUS[1]}-{_KEDA[1]}"
    if not (place / name).is_file():
        _download(module, version, folder, place)
    return place / name


def _download(module: str, version: str, folder: str, place: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise UnavailableError(f"no definitions of {module} in the cache, and no go to fetch them: install Go")
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as sources:
        fetch(
            [go, "mod", "download", f"{module}@{version}"],
            seconds=_DOWNLOAD_SECONDS,
            missing=f"the definitions of {module} cannot be fetched",
            folder=Path(sources),
            environment={"GOMODCACHE": sources, "GOFLAGS": "-modcacherw"},
        )
        for kind_module, _, _, name in KINDS.values():
            if kind_module == module:  # renamed into its place: two that fetch at once do not disturb each other
                (Path(sources) / f"{module}@{version}" / folder / name).replace(place / name)


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Let no field pass that is not named: the server drops such a one silently."""
    told = dict(schema)
    if "properties" in told:
        told["properties"] = {name: _strict(each) for name, each in told["properties"].items()}
        if "additionalProperties" not in told and not told.get("x-kubernetes-preserve-unknown-fields"):
            told["additionalProperties"] = False
    for name in ("items", "additionalProperties"):
        if isinstance(told.get(name), dict):
            told[name] = _strict(told[name])
    if told.pop("x-kubernetes-int-or-string", False):
        told["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if told.get("pattern", "").startswith("^(?i)"):  # as Go writes it
        told["pattern"] = "(?i)^" + told["pattern"].removeprefix("^(?i)")
    return told
