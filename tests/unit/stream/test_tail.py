"""Reading a partition that its worker trims meanwhile."""

import pytest

from worker.stream.tail import TrimmedError, despite_trimming


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
