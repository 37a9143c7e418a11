"""When a base begins."""

import pytest

from tests.support.lineage import Writer


@pytest.mark.parametrize(("after_bytes", "bases"), [(0, True), (1_048_576, True), (33_554_432, False)])
def test_a_base_begins_when_so_much_was_published_since_the_last_one(after_bytes, bases, monkeypatch):
    # Given a shard that has published two million bytes since its first version, several times what it holds
    monkeypatch.setattr(Writer, "base_after_bytes", after_bytes)
    writer = Writer()
    writer.advance(100)
    writer.state.bytes_since_base = 2_000_000
    # When it commits, then another base begins, unless that is not to be yet
    assert (writer.advance(100).began == 2) == bases


def test_a_base_does_not_begin_before_twice_as_much_was_published_as_it_takes(monkeypatch):
    monkeypatch.setattr(Writer, "base_after_bytes", 0)
    writer = Writer()
    size = sum(part.bytes for part in writer.advance(100).records if part.kind == "rows")
    writer.state.bytes_since_base = size * 3 // 2
    assert writer.advance(1).began != 2
