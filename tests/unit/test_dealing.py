"""The order of tests where several run at once."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.dealing import deal

SOME = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60).map(sorted)


def dealt(tests, hands):
    named = [(file, slow, number) for number, (file, slow) in enumerate(tests)]
    return named, deal(named, hands, slow=lambda it: it[1], file=lambda it: it[0])


def cut(tests, hands):
    """Cut them as pytest-xdist does."""
    found = []
    for number in range(hands):
        size = len(tests) // (hands - number)
        found.append(tests[:size])
        tests = tests[size:]
    return found


@given(SOME, st.integers(1, 5))
def test_each_test_runs_once_and_slow_ones_begin_a_hand(tests, hands):
    named, order = dealt(tests, hands)
    assert sorted(order) == sorted(named)
    for hand in cut(order, hands):
        assert [slow for _, slow, _ in hand] == sorted((slow for _, slow, _ in hand), reverse=True)


def test_slow_files_are_dealt_out_whole():
    tests = [(file, True) for file in "abcdef" for _ in range(3)] + [("q", False)] * 42
    hands = cut(dealt(tests, 3)[1], 3)
    assert ["".join(file for file, slow, _ in hand if slow) for hand in hands] == ["aaaddd", "bbbeee", "cccfff"]
    assert [len(hand) for hand in hands] == [20, 20, 20]
