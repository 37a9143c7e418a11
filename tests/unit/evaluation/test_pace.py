"""Events by wall time: bounded, and the same whichever way it is added up."""

from worker.evaluation.pace import MOST, Throughput


def paced(steps: list[tuple[float, int]]) -> Throughput:
    now = [0.0]
    throughput = Throughput(lambda: now[0])
    for at, events in steps:
        now[0] = at
        throughput.add(events)
    return throughput


def test_events_are_told_by_when_they_were_learned():
    told = paced([(100.0, 5), (100.05, 5), (100.25, 7)]).paces()
    assert [(pace.seconds, pace.events) for pace in told] == [(0, 10), (0.1, 0), (0.2, 7)]
    assert {pace.length_seconds for pace in told} == {0.1}


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
