"""Keys, each once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.model.index import distinct


@given(st.lists(st.integers(1, 40) | st.integers(2**63, 2**64 - 1)))
def test_each_key_is_given_once_in_the_order_in_which_they_first_come(keys):
    assert distinct(np.array(keys, np.uint64)).tolist() == list(dict.fromkeys(keys))
