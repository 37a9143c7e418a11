import numpy as np
import pytest

from worker.follow.moved import Moved, mark_of, moved_of, shard_of


@pytest.mark.parametrize("exactly", [True, False])
@pytest.mark.parametrize(("shard", "version"), [(0, 1), (3, 17), (2**20 - 1, 2**43 - 1)])
def test_a_mark_says_what_was_put_in(shard, version, exactly):
    moved = moved_of(mark_of(shard, version, exactly=exactly))
    assert moved == Moved(shard=shard, version=version, exactly=exactly)
    assert str(moved) == (f"{version}" if exactly else f"<= {version}")


def test_no_mark_says_that_nothing_is_known():
    assert moved_of(0) is None
    assert shard_of(np.array([0, mark_of(0, 3, exactly=True), mark_of(2, 3, exactly=False)])).tolist() == [-1, 0, 2]
