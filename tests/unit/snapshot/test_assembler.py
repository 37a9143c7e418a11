"""Records become whole versions, or a reason why not; whatever happened to one version, the next is read."""

from dataclasses import replace

import pytest

from tests.support.lineage import Writer, manifest_of, versions
from worker.errors import CorruptSnapshotError
from worker.snapshot.assembler import Assembler
from worker.snapshot.records import Kind, checksum


@pytest.fixture
def writer() -> Writer:
    writer = Writer(record_limit_bytes=16_384)
    for _ in range(3):
        writer.advance(400)
    return writer


def feed(log) -> list:
    """Give what each record gave: a version's number, None, or the reason why not."""
    assembler = Assembler("interactions", 0)
    told = []
    for offset, record in log:
        try:
            version = assembler.feed(record, offset)
        except CorruptSnapshotError as error:
            assembler.drop()
            told.append(str(error))
        else:
            told.append(version and version.manifest.version)
    return told


def test_versions_come_as_they_were_written(writer):
    found = versions(writer.log, writer.learning)
    assert [version.manifest for version in found] == writer.manifests
    for version in found:
        assert version.offset == version.manifest_offset - len(version.data)
        assert [record.sequence for record in version.data] == list(range(len(version.data)))
        assert len(version.of_kind(Kind.ROWS)) > 1, "rows are cut to fit the topic's records"
        assert version.manifest.records[0].checksum == version.data[0].checksum
    assert found[1].manifest.parent_chain == found[0].chain


def test_reading_from_any_record_on_gives_every_version_that_begins_there(writer):
    found = versions(writer.log, writer.learning)
    for start in range(writer.next_offset):
        whole = [version.manifest.version for version in found if version.offset >= start]
        read = feed([(offset, record) for offset, record in writer.log if offset >= start])
        assert [number for number in read if isinstance(number, int)] == whole


def test_a_missing_data_record_is_found_at_the_manifest_and_the_next_version_is_read(writer):
    second = [number for number, (_, record) in enumerate(writer.log) if record.version == 2]
    for missing in second[:-1]:
        told = feed(writer.log[:missing] + writer.log[missing + 1 :])
        assert [one for one in told if one is not None] == [
            1,
            (
                f"version 2 of shard 0 has {len(second) - 1} data records by its manifest, {len(second) - 2} came, "
                "1 are missing or changed"
            ),
            3,
        ]


def test_a_record_with_another_content_and_a_fitting_checksum_is_found(writer):
    number, (offset, record) = 2, writer.log[2]
    forged = replace(record, value=record.value + b"x", checksum=checksum(record.value + b"x"))
    told = feed([*writer.log[:number], (offset, forged), *writer.log[number + 1 :]])
    assert next(one for one in told if one is not None).endswith("1 are missing or changed")


def test_records_in_another_order_are_found(writer):
    log = [writer.log[1], writer.log[0], *writer.log[2:]]
    assert isinstance(next(one for one in feed(log) if one is not None), str)


def test_a_version_without_its_manifest_is_passed_over(writer):
    log = [(offset, record) for offset, record in writer.log if (record.version, record.kind) != (2, Kind.MANIFEST)]
    assert [one for one in feed(log) if one is not None] == [1, 3]


def test_a_version_begun_is_told(writer):
    assembler = Assembler("interactions", 0)
    assert assembler.begun is None
    for offset, record in writer.log[:-1]:
        assembler.feed(record, offset)
    assert assembler.begun == 3
    assembler.feed(writer.log[-1][1], writer.log[-1][0])
    assert assembler.begun is None


def test_the_rest_of_a_version_that_is_given_up_is_passed_over(writer):
    """Whichever record of version 2 could not be read, its manifest among them: one refusal, then version 3."""
    second = [number for number, (_, record) in enumerate(writer.log) if record.version == 2]
    for unreadable in second:
        assembler, told = Assembler("interactions", 0), []
        for number, (offset, record) in enumerate(writer.log):
            if number == unreadable:
                assembler.drop()
                continue
            version = assembler.feed(record, offset)
            told += [version.manifest.version] if version else []
        assert told == [1, 3]


@pytest.mark.parametrize("changes", [{"model": "other"}, {"shard": 1}])
def test_a_record_of_another_model_or_shard_is_refused(writer, changes):
    stranger = replace(writer.log[0][1], **changes)
    log = [*writer.log[:1], (1_000, stranger), *writer.log[1:]]
    told = [one for one in feed(log) if one is not None]
    assert "who else writes to this topic?" in told[0]
    assert told[1:] == [2, 3], "the version that it lies in is given up"


def test_a_manifest_that_cannot_be_read_is_refused(writer):
    last = next(number for number, (_, record) in enumerate(writer.log) if record.kind is Kind.MANIFEST)
    offset, record = writer.log[last]
    broken = replace(record, value=b"{}", checksum=checksum(b"{}"))
    told = [one for one in feed([*writer.log[:last], (offset, broken), *writer.log[last + 1 :]]) if one is not None]
    assert told[0].startswith("a manifest cannot be read")
    assert told[1:] == [2, 3]


def test_a_manifest_that_names_other_records_is_refused(writer):
    last = next(number for number, (_, record) in enumerate(writer.log) if record.kind is Kind.MANIFEST)
    offset, record = writer.log[last]
    fewer = manifest_of(record, records=writer.manifests[0].records[1:])
    told = [one for one in feed([*writer.log[:last], (offset, fewer), *writer.log[last + 1 :]]) if one is not None]
    assert "missing or changed" in told[0]
