import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import START, rows
from worker.errors import ConfigurationError, DamagedRecordingError
from worker.recording import Recording

# As kcat 1.7 prints them: headers and timestamps where there are some, key and payload always.
LINES = [
    b'{"topic":"clicks","partition":1,"offset":7,"tstype":"create","ts":1735689600007,"broker":1,"key":"u1","payload":"{\\"user\\":\\"u1\\"}"}',
    (
        b'{"topic":"clicks","partition":0,"offset":3,"tstype":"logappend","ts":1735689600003,"broker":1,'
        b'"headers":["trace","\xff\\u0001","empty","","none",null],"key":null,"payload":"\xfe\\u0000"}'
    ),
    b'{"topic":"clicks","partition":0,"offset":1,"broker":1,"key":"","payload":null}',
]


def record(partition: int, offset: int, **said: Any) -> bytes:
    line = {"topic": "clicks", "partition": partition, "offset": offset, "key": None, "payload": "{}", **said}
    return json.dumps(line).encode()


def test_lines_of_kcat_keep_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_bytes(b"\n".join(LINES))
    recording = Recording(path)
    assert (recording.topic, recording.shards, recording.ranges) == ("clicks", 2, {0: (1, 4), 1: (7, 8)})
    headers = [{"key": "trace", "value": b"\xff\x01"}, {"key": "empty", "value": b""}, {"key": "none", "value": None}]
    assert rows(*recording) == [
        ("clicks", 0, 1, -1, 0, b"", None, None),
        ("clicks", 0, 3, START + 3, 2, None, b"\xfe\x00", headers),
        ("clicks", 1, 7, START + 7, 1, b"u1", b'{"user":"u1"}', None),
    ]


def test_what_kcat_decoded_becomes_its_json_and_headers_may_be_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(record(0, 0, payload={"user": "u1"}, headers={"h": ["1", None]}))
    (row,) = rows(*Recording(tmp_path / "a.json"))
    assert row[-2:] == (b'{"user":"u1"}', [{"key": "h", "value": b"1"}, {"key": "h", "value": None}])


def test_packed_and_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clicks.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(LINES)))
    found = rows(*Recording(path))
    assert len(found) == 3
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(LINES))))
    assert rows(*Recording("-")) == found
    path.write_bytes(gzip.compress(b"\n".join(LINES))[:-20])
    with pytest.raises(DamagedRecordingError, match="cut short"):
        Recording(path)


def test_a_range_of_time(tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_bytes(b"\n".join(record(0, n, tstype="create", ts=START + n) for n in range(10)))
    assert Recording(path, begin=START + 3, end=START + 5).ranges == {0: (3, 5)}
    with pytest.raises(ConfigurationError, match="has no records from"):
        Recording(path, begin=START + 10)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"topic":"clicks","partition":0,"off', "line 2: .* no JSON: .*cut short"),
        (b'{"user":"u1","label":1}', "it has no topic, partition, offset; .*headrace load"),
        (b"[1]", "no JSON object"),
        (record(0, -1), "at least 0"),
        (record(0, 5, headers=["odd"]), "names and values in turn"),
        (record(0, 5, ts="soon", tstype="create"), "ts must be an integer"),
        (record(0, 5, payload_error="no schema"), "without -s"),
        (record(0, 0), r"clicks \[0\] has offset 0 twice"),
    ],
)
def test_another_line_is_refused_at_once(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_bytes(record(0, 0) + b"\n" + line + b"\n")
    with pytest.raises(DamagedRecordingError, match=said):
        Recording(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clicks.jsonl").write_bytes(b"\n")
    with pytest.raises(DamagedRecordingError, match="there are no lines"):
        Recording(tmp_path / "clicks.jsonl")
