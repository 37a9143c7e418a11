"""Events by wall time: bounded, and the same whichever way it is added up."""

from worker.evaluation.pace import MOST, Throughput


def paced(steps: list[tuple[float, int]], began: float = 0.0) -> Throughput:
    now = [began]
    throughput = Throughput(lambda: now[0])
    for at, events in steps:
        now[0] = at
        throughput.add(events)
    return throughput


def test_events_are_told_by_when_they_were_learned():
    told = paced([(100.0, 5), *[(100.05, 1)] * 10, (100.28, 7)], began=99.95).paces()
    assert [(pace.seconds, pace.length_seconds, pace.events) for pace in told] == [
        (0, 0.05, 0), (0.05, 0.1, 15), (0.15, 0.1, 0), (0.25, 0.08, 7)
    ]  # fmt: skip


def test_a_few_batches_are_not_told_as_ups_and_downs():
    told = paced([(100.0 + second, 500) for second in range(1, 21)], began=100.0).paces()
    assert [(pace.length_seconds, pace.events) for pace in told] == [(5, 2_000), (5, 2_500), (5, 2_500), (5, 3_000)]


def test_what_took_no_time_at_all_has_a_pace():
    (told,) = paced([(5.0, 100)], began=5.0).paces()
    assert (told.seconds, told.length_seconds, told.events) == (0, 0.001, 100)


def test_a_long_run_is_told_in_longer_steps():
    told = paced([(second, 2) for second in range(100_000)]).paces()
    assert MOST / 10 < len(told) <= MOST
    assert sum(pace.events for pace in told) == 200_000


def test_two_that_are_merged_are_those_of_both():
    one, other = [(1.0, 3), (50.0, 4)], [(2.0, 5), (3_000.0, 6)]
    merged = paced(one)
    merged.merge(paced(other))
    assert merged.paces() == paced(sorted(one + other)).paces()


def test_nothing_is_nothing():
    throughput = paced([])
    throughput.merge(paced([]))
    assert throughput.paces() == []


def test_a_run_that_began_an_instant_before_a_span_has_a_pace():
    told = paced([(100.05, 100)], began=99.99996).paces()
    assert [(pace.seconds, pace.length_seconds, pace.events) for pace in told] == [(0, 0.001, 0), (0, 0.05, 100)]
