"""Reading a partition that its worker trims meanwhile."""

import pytest

from worker.stream.tail import TrimmedError, despite_trimming, look_back


def test_a_look_that_a_trim_came_into_is_made_again() -> None:
    trims = iter([TrimmedError("gone"), TrimmedError("gone again")])

    def look() -> str:
        for trim in trims:
            raise trim
        return "seen"

    assert despite_trimming(look) == "seen"


def test_an_offset_that_is_never_there_is_told_in_the_end() -> None:
    looks = 0

    def look() -> str:
        nonlocal looks
        looks += 1
        raise TrimmedError("gone")

    with pytest.raises(TrimmedError, match="gone"):
        despite_trimming(look)
    assert looks > 1


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 1), (0, 32), (5, 1_000), (0, 20_000), (7, 7)])
@pytest.mark.parametrize("back", [None, 0, 31, 32, 300, 19_999])
def test_what_stands_near_the_end_is_found_without_reading_all(begin, end, back):
    place = None if back is None or end - 1 - back < begin else end - 1 - back
    starts = []

    def look(start):
        starts.append(start)
        return place if place is not None and start <= place else None

    assert look_back(begin, end, look) == place
    assert all(begin <= start < end for start in starts)
    read = sum(end - start for start in starts)
    # However far back it is, no more is read than some times of what lies behind it.
    assert read <= 32 + 10 * (end - begin if place is None else end - place)
