"""schemas/model and schemas/README.md say what the code writes to the model topic."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel

from worker.config import Learning
from worker.events.hashing import key_of
from worker.pipeline import Pipeline
from worker.snapshot.lineage import Sealed, Writing
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, Record
from worker.snapshot.state import ShardState

SCHEMAS = Path(__file__).parents[2] / "schemas"
README = (SCHEMAS / "README.md").read_text(encoding="utf-8")
SCHEMA = json.loads((SCHEMAS / "model" / "manifest.v1.schema.json").read_text(encoding="utf-8"))
LEARNING = Learning.model_validate({"features": {"user": {}, "item": {}, "price": {"kind": "numeric"}}})
NOW = 1_735_689_600_000
EVENT = b'{"user": "u1", "item": "i%d", "label": 1, "time": 1735689600000, "price": 2.5}'


def versions(count: int) -> list[list[Record]]:
    """Learn a little and publish it, version after version, as a worker does."""
    state, pipeline = ShardState.fresh(3, LEARNING), Pipeline(LEARNING)
    writing = Writing(
        learning=LEARNING, group="headrace", record_limit_bytes=1_048_588, keep_bases=2, base_part_bytes=65_536
    )
    published = []
    for number in range(count):
        state.bytes_since_base = 10_000_000 if number else 0  # so that every version but the first carries a base
        pipeline.learn(state, [EVENT % number, b"not JSON"], np.array([NOW, NOW]), 2 * number + 2)
        sealed = Sealed(state, writing)
        manifest = sealed.close(number if sealed.needs_offset else None, NOW)
        sealed.settle()
        published.append([*sealed.data, manifest])
    return published


VERSIONS = versions(3)
MANIFESTS = [json.loads(records[-1].value) for records in VERSIONS]


def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: f"version {manifest['version']}")
def test_a_manifest_as_it_is_written_is_valid(manifest: dict[str, Any]) -> None:
    validator().validate(manifest)


def test_the_manifests_are_worth_validating() -> None:
    first, second, _ = MANIFESTS
    assert (first["parent_chain"], second["parent_chain"]) == ("", Manifest.link(VERSIONS[0][-1].value))
    assert second["state"]["rejected"] == {"not_json": 2}
    assert [part["kind"] for part in second["records"]] == ["pairs", "progress", "rows", "base"]


@pytest.mark.parametrize("name", SCHEMA["required"])
def test_a_manifest_without_a_property_is_refused(name: str) -> None:
    manifest = deepcopy(MANIFESTS[1])
    del manifest[name]
    assert not validator().is_valid(manifest)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("format",), 2),
        (("version",), 0),
        (("input", "next_offset"), -1),
        (("records", 0, "checksum"), "not a checksum"),
        (("records", 0, "kind"), "manifest"),
        (("bases",), []),
        (("state", "digest"), "0" * 31),
        (("parent_chain",), None),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused(at: tuple[str | int, ...], value: object) -> None:
    manifest = deepcopy(MANIFESTS[1])
    place: Any = manifest
    for name in at[:-1]:
        place = place[name]
    place[at[-1]] = value
    assert not validator().is_valid(manifest)


def test_a_later_release_may_add_properties() -> None:
    validator().validate({**MANIFESTS[0], "rows_evicted": 0})


def test_the_schema_has_what_the_model_has() -> None:
    def same(schema: dict[str, Any], kind: type[BaseModel]) -> None:
        assert set(schema["properties"]) == set(schema["required"]) == set(kind.model_fields)
        for name, field in kind.model_fields.items():
            inner = schema["properties"][name]
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    same(inner.get("items", inner), part)

    same(SCHEMA, Manifest)
    kinds = SCHEMA["properties"]["records"]["items"]["properties"]["kind"]["enum"]
    assert set(kinds) == set(Kind) - {Kind.MANIFEST}


def test_the_columns_are_those_of_the_records() -> None:
    tables = [re.findall(r"^\| `(\w+)` \| `(.+?)` \|", part, re.MULTILINE) for part in README.split("| Column |")[1:]]
    rows, pairs, progress = [dict(table) for table in tables]
    documented = {Kind.ROWS: rows, Kind.BASE: rows, Kind.PAIRS: pairs, Kind.PROGRESS: progress}
    for record in VERSIONS[1][:-1]:
        schema = pa.ipc.open_stream(record.value).read_all().schema
        found = {field.name: re.sub(r"<item: (\w+)>", r"<\1>", str(field.type)) for field in schema}
        told = {
            name: kind.replace("[K]", f"[{LEARNING.model.factors}]") for name, kind in documented[record.kind].items()
        }
        assert found == told, record.kind
    assert {record.kind for record in VERSIONS[1][:-1]} == set(documented)


def test_the_key_given_as_an_example_is_right() -> None:
    assert f"the key of user 42 is `{key_of('user', '42'):#x}`" in README


def test_without_factors_there_is_no_column_of_them() -> None:
    learning = LEARNING.model_copy(update={"model": LEARNING.model.model_copy(update={"factors": 0})})
    state = ShardState.fresh(0, learning)
    Pipeline(learning).learn(state, [EVENT % 1], np.array([NOW]), 1)
    writing = Writing(
        learning=learning, group="headrace", record_limit_bytes=1_048_588, keep_bases=2, base_part_bytes=65_536
    )
    data = next(record for record in Sealed(state, writing).data if record.kind is Kind.ROWS)
    assert "factors" not in pa.ipc.open_stream(data.value).read_all().column_names
