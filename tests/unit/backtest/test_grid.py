import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backtest.grid import Axis, combinations, size, some
from worker.errors import ConfigurationError


def test_every_combination_once_and_the_last_axis_first():
    axes = [Axis.parse("model.half_life=off,1d"), Axis.parse(" model.factors = 8, 16 ,32")]
    found = combinations(axes)
    assert size(axes) == len(found) == len(set(found)) == 6
    assert found[:4] == [
        (("model.half_life", "off"), ("model.factors", "8")),
        (("model.half_life", "off"), ("model.factors", "16")),
        (("model.half_life", "off"), ("model.factors", "32")),
        (("model.half_life", "1d"), ("model.factors", "8")),
    ]
    assert combinations([]) == []
    assert size([]) == 0


def test_commas_in_brackets_and_quotes_belong_to_a_value():
    axis = Axis.parse('model.pairs=all,[["user","item"],["bias","item"]],"a,b",\'c,d\'')
    assert axis.values == ("all", '[["user","item"],["bias","item"]]', '"a,b"', "'c,d'")


@given(
    st.lists(
        st.text("abc01.[]", min_size=1).filter(lambda t: t.count("[") == t.count("]") == 0), min_size=1, unique=True
    )
)
def test_what_is_joined_is_parted(values):
    assert Axis.parse("model.x=" + ",".join(values)).values == tuple(values)


@pytest.mark.parametrize("text", ["model.factors", "model.factors=", "=8", "model.factors=8,,16", "model.factors=8,"])
def test_what_is_written_otherwise_is_refused(text):
    with pytest.raises(ConfigurationError, match="is written as a setting and its values"):
        Axis.parse(text)


def test_what_is_named_twice_is_refused():
    with pytest.raises(ConfigurationError, match="names a value twice"):
        Axis.parse("model.factors=8,16,8")
    with pytest.raises(ConfigurationError, match="write all of its values in one"):
        combinations([Axis.parse("model.factors=8"), Axis.parse("model.factors=16")])


def test_a_limit_draws_some_the_same_for_the_same_seed():
    every = combinations([Axis.parse("model.seed=" + ",".join(map(str, range(100))))])
    drawn = some(every, 10, seed=3)
    assert drawn == some(every, 10, seed=3)
    assert drawn == sorted(drawn, key=every.index)
    assert len(set(drawn)) == 10
    assert drawn != some(every, 10, seed=4)
    assert some(every, 100, seed=3) == every
