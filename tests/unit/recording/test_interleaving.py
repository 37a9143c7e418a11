"""The order of all records of a topic, held against a sort of them one by one."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from tests.support.recordings import make_records
from worker.recording.interleaving import interleave
from worker.recording.records import Records

TIMES = st.lists(st.lists(st.integers(-1, 30), max_size=20), min_size=1, max_size=4)


def batches(partition: int, times: list[int], size: int) -> Iterator[Records]:
    for begin in range(0, len(times), size):
        some = times[begin : begin + size]
        yield make_records(partition, range(begin, begin + len(some)), times=some)
    yield make_records(partition, (), times=())


@given(TIMES, st.integers(1, 7), st.sampled_from([1, 10, 100]))
def test_the_order_is_that_of_time_then_partition_then_offset(times: list[list[int]], size: int, span: int) -> None:
    found = [
        (records.partition, offset)
        for records in interleave(((p, batches(p, own, size)) for p, own in enumerate(times)), span)
        for offset in records.offsets.tolist()
    ]
    # A record is due with the latest one of its partition before it: offsets decide within a partition.
    due = [
        (max(own[: offset + 1]) // span, partition, offset)
        for partition, own in enumerate(times)
        for offset in range(len(own))
    ]
    assert found == [(partition, offset) for _, partition, offset in sorted(due)]
