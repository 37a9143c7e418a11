"""schemas/model and schemas/README.md say what the code writes to the model topic."""

import json
import re
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel

from tests.support.lineage import writing_of
from worker.events.hashing import key_of
from worker.learning import Learning
from worker.model.arithmetic import mix
from worker.model.batch import SHARED
from worker.pipeline import Pipeline
from worker.snapshot.manifest import Manifest, Peer
from worker.snapshot.records import Kind, Record, decode_ledger, encode_keys
from worker.snapshot.sealing import Folding, Sealed
from worker.snapshot.state import ShardState

SCHEMAS = Path(__file__).parents[2] / "schemas"
README = (SCHEMAS / "README.md").read_text(encoding="utf-8")
SCHEMA = json.loads((SCHEMAS / "model" / "manifest.v1.schema.json").read_text(encoding="utf-8"))
LEARNING = Learning.model_validate(
    {"features": {"user": {}, "item": {}, "price": {"kind": "numeric"}}, "model": {"merge": False}}
)
NOW = 1_735_689_600_000
EVENT = b'{"user": "u1", "item": "i%d", "label": 1, "time": 1735689600000, "price": 2.5}'


def versions(count: int, learning: Learning = LEARNING) -> list[list[Record]]:
    """Learn a little and publish it, version after version, as a worker does."""
    state, pipeline = ShardState.fresh(3, learning), Pipeline(learning)
    writing = writing_of(learning, base_part_bytes=65_536)
    other = ShardState.fresh(4, learning)
    pipeline.learn(other, [EVENT % 7], np.array([NOW]), 1)
    contribution = other.model.boundary()[1]
    published = []
    for number in range(count):
        state.bytes_since_base = 100_000_000 if number else 0  # so that every version but the first carries a base
        pipeline.learn(state, [EVENT % number, b"not JSON"], np.array([NOW, NOW]), 2 * number + 2)
        foldings = []
        if contribution is not None:  # as if the other shard published the same with each of its versions
            peer = Peer(version=number + 1, offset=5 * number, events=1, created=NOW)
            foldings = [Folding(shard=4, peer=peer, contribution=contribution)]
        sealed = Sealed(state, writing, foldings)
        manifest = sealed.close(number if sealed.needs_offset else None, NOW)
        sealed.settle()
        published.append([*sealed.data, manifest])
    return published


VERSIONS = versions(3)
MANIFESTS = [json.loads(records[-1].value) for records in VERSIONS]
MERGED = versions(3, LEARNING.model_copy(update={"model": LEARNING.model.model_copy(update={"merge": True})}))
MERGED_MANIFESTS = [json.loads(records[-1].value) for records in MERGED]
# With as many events as it takes until the clock runs.
FADING = versions(
    33,
    LEARNING.model_copy(update={"model": LEARNING.model.model_copy(update={"merge": True, "half_life": "1h"})}),
)
FADING_MANIFESTS = [json.loads(records[-1].value) for records in FADING[-2:]]


def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize(
    "manifest", MANIFESTS + MERGED_MANIFESTS + FADING_MANIFESTS, ids=lambda manifest: f"version {manifest['version']}"
)
def test_a_manifest_as_it_is_written_is_valid(manifest: dict[str, Any]) -> None:
    validator().validate(manifest)


def test_the_manifests_are_worth_validating() -> None:
    first, second, _ = MANIFESTS
    assert (first["parent_chain"], second["parent_chain"]) == ("", Manifest.link(VERSIONS[0][-1].value))
    assert second["state"]["rejected"] == {"not_json": 2}
    assert [part["kind"] for part in second["records"]] == [
        "progress",
        "pairs",
        "rows",
        "cells",
        "base",
        "base_cells",
        "watch",
    ]
    assert (second["peers"], second["began"], second["state"]["view"]) == ({}, 2, "")
    _, second, third = MERGED_MANIFESTS
    kinds = ["progress", "contribution", "contribution", "rows", "cells", "base", "ledger", "base_cells", "watch"]
    assert [part["kind"] for part in second["records"]] == kinds
    assert second["peers"] == {"4": {"version": 2, "offset": 5, "events": 1, "created": NOW}}
    assert third["bases"][-1]["peers"] == second["peers"]
    assert second["state"]["view"] != third["state"]["view"]


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
        (("state", "view"), "0" * 15),
        (("began",), -1),
        (("peers",), {"4": 2}),
        (("peers",), {"four": {"version": 2, "offset": 5}}),
        (("peers",), {"4": {"version": 2}}),
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
                    if "$ref" in inner:
                        inner = SCHEMA["$defs"][inner["$ref"].rpartition("/")[2]]
                    same(inner.get("items") or inner.get("additionalProperties") or inner, part)

    same(SCHEMA, Manifest)
    kinds = SCHEMA["properties"]["records"]["items"]["properties"]["kind"]["enum"]
    assert set(kinds) == set(Kind) - {Kind.MANIFEST}


def test_the_columns_are_those_of_the_records() -> None:
    tables = [re.findall(r"^\| `(\w+)` \| `(.+?)` \|", part, re.MULTILINE) for part in README.split("| Column |")[1:]]
    rows, evicted, pairs, progress, watch, cells, contribution, ledger = [dict(table) for table in tables]
    documented = {
        Kind.ROWS: rows, Kind.BASE: rows, Kind.PAIRS: pairs, Kind.PROGRESS: progress,
        Kind.CONTRIBUTION: contribution, Kind.LEDGER: ledger, Kind.CELLS: cells, Kind.BASE_CELLS: cells,
        Kind.EVICTED: evicted, Kind.WATCH: watch,
    }  # fmt: skip
    factors = LEARNING.model.factors
    fading = FADING[-1][:-1]
    for record in [*VERSIONS[1][:-1], *MERGED[1][:-1], *fading]:
        schema = pa.ipc.open_stream(record.value).read_all().schema
        found = {field.name: re.sub(r"<item: (\w+)>", r"<\1>", str(field.type)) for field in schema}
        told = {
            name: kind.replace("[K]", f"[{factors}]").replace("[3 + K]", f"[{3 + factors}]")
            for name, kind in documented[record.kind].items()
            if name != "as_of" or record in fading
        }
        assert found == told, record.kind
    written = {record.kind for record in [*VERSIONS[1][:-1], *MERGED[1][:-1]]}
    assert written | {Kind.EVICTED} == set(documented)
    gone = pa.ipc.open_stream(encode_keys(np.ones(1, np.uint64))).schema
    assert {field.name: str(field.type) for field in gone} == evicted


def test_the_words_of_a_number_are_as_the_page_says() -> None:
    """Read as the page tells, with nothing of ours."""
    records = [pa.ipc.open_stream(it.value).read_all() for it in FADING[32] if it.kind in (Kind.CELLS, Kind.BASE_CELLS)]
    words = np.zeros(35, np.uint64)
    for record in records:
        words[record["place"].to_numpy()] = record["word"].to_numpy()
    numbers = words.view(np.float64)
    assert (words[0], words[1], numbers[2], numbers[3]) == (33, 0, 2.5, 0.0), "33 times the same price"
    first = pa.ipc.open_stream(next(it for it in VERSIONS[0] if it.kind is Kind.CELLS).value).read_all()
    place = first["place"].to_pylist()
    assert sorted(place) == [0, 1, 2, 3, 4]
    assert first["word"].to_numpy()[place.index(4)] == np.float64(2.5).view(np.uint64)


@pytest.mark.parametrize("kind", ["sgd", "ftrl"])
def test_rows_of_a_linear_kind_are_as_the_page_says(kind: str) -> None:
    model = {"kind": kind, "merge": False}
    (records,) = versions(1, Learning.model_validate(LEARNING.model_dump(include={"features"}) | {"model": model}))
    said = re.search(rf"with(?:\s`learning.model.kind`)?\s`{kind}`,\s(.+?)(?:;|\.\s)", README, re.DOTALL)
    (rows,) = [record for record in records if record.kind is Kind.ROWS]
    schema = pa.ipc.open_stream(rows.value).read_all().schema
    numbers = [field.name for field in schema if field.type == pa.float32()]
    assert schema.names == ["key", "seen", "route", *numbers]
    assert said is not None
    assert re.findall(r"`(\w+)`", said[1]) == numbers
    assert Kind.PAIRS not in {record.kind for record in records}
    validator().validate(json.loads(records[-1].value))


def test_the_key_given_as_an_example_is_right() -> None:
    key = key_of("user", "42") & ~SHARED  # the user is local
    assert re.search(r"the key of user 42 is\s+`(\w+)`", README).group(1) == f"{key:#x}"


def test_a_shared_row_is_what_the_page_says_that_it_is() -> None:
    """Read as the page tells, with nothing of ours but the prior of a factor."""
    tables = [pa.ipc.open_stream(record.value).read_all() for record in MERGED[1] if record.kind is Kind.LEDGER]
    (entries,) = [table.to_pylist() for table in tables]
    state = ShardState.fresh(3, Learning.model_validate(MERGED_MANIFESTS[0]["learning"]))
    prior = state.model.table.gather(np.array([entry["key"] for entry in entries], np.uint64)).astype(np.float64)
    state.model.shared.own = state.model.shared.merged  # as they are served
    (ledger,) = [record.value for record in MERGED[1] if record.kind is Kind.LEDGER]
    state.model.shared.merged.add(decode_ledger(ledger, LEARNING.model.factors)[1])
    rows = state.model.shared.rows(np.array([entry["key"] for entry in entries], np.uint64))
    place = {key: number for number, key in enumerate(rows.keys.tolist())}
    checked = 0
    for number, entry in enumerate(entries):
        if entry["key"] not in place:
            continue  # of a pair
        added = np.array(entry["merged"]) * 2.0**-32
        weight_precision = LEARNING.model.prior_weight_precision + added[1]
        factor_precision = LEARNING.model.prior_factor_precision + added[2]
        factors = (prior[number, 3:] * LEARNING.model.prior_factor_precision + added[3:]) / factor_precision
        expected = [added[0] / weight_precision, weight_precision, factor_precision, *factors]
        assert rows.parameters[place[entry["key"]]].tolist() == np.array(expected, np.float32).tolist()
        checked += 1
    assert checked == 4, "the bias, the price and two items"
    # Of four fields, in their order; nothing is known yet of pairs with the price, which has no scale so far
    keys = [int(mix(np.uint64(number + 1)) | SHARED) for number in range(6)]
    pairs = [
        number for number, pair in enumerate(combinations(("bias", "user", "item", "price"), 2)) if "price" not in pair
    ]
    assert {entry["key"] for entry in entries} - place.keys() == {keys[number] for number in pairs}


def test_without_factors_there_is_no_column_of_them() -> None:
    learning = LEARNING.model_copy(update={"model": LEARNING.model.model_copy(update={"factors": 0})})
    state = ShardState.fresh(0, learning)
    Pipeline(learning).learn(state, [EVENT % 1], np.array([NOW]), 1)
    writing = writing_of(learning, base_part_bytes=65_536)
    data = next(record for record in Sealed(state, writing).data if record.kind is Kind.ROWS)
    assert "factors" not in pa.ipc.open_stream(data.value).read_all().column_names
