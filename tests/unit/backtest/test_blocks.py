import numpy as np
import pytest

from worker.backtest.blocks import Blocks
from worker.errors import IncompatibleDataError


def some(seed: int) -> Blocks:
    rng, blocks = np.random.default_rng(seed), Blocks.empty(3, logistic=True)
    for block in (0, 2):
        scores, labels = rng.random(50).astype(np.float32), rng.integers(2, size=50).astype(np.float32)
        blocks.add(block, scores, labels, np.ones(50, np.float32))
    return blocks


def test_what_is_written_is_read_to_the_bit(tmp_path):
    blocks = some(1)
    blocks.write(tmp_path / "a.npz")
    read = Blocks.read(tmp_path / "a.npz")
    assert (read.logistic, read.sums.tobytes(), read.histogram.tobytes()) == (
        True, blocks.sums.tobytes(), blocks.histogram.tobytes(),
    )  # fmt: skip


def test_they_add_up_and_know_their_events():
    one, other = some(1), some(2)
    whole = some(1)
    whole.merge(other)
    assert whole.whole.events == 200
    assert whole.weights.tolist() == [100, 0, 100]
    assert one.same_events(some(1))
    assert not one.same_events(other)
    assert not one.same_events(Blocks.empty(2, logistic=True))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_what_is_none_is_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(IncompatibleDataError, match="remove it"):
        Blocks.read(path)


def test_an_array_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, sums=np.array([{}], object), histogram=np.zeros(1), logistic=np.array(True))
    with pytest.raises(IncompatibleDataError, match="remove it"):
        Blocks.read(path)
