"""Valid values of ``random_state``; an int equals NumPy's RandomState with that seed."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from kmeans_xp.estimators.validation import as_random_state


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, np.int64(5)])
@pytest.mark.parametrize(
    "kept", [lambda state: state, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))]
)
def test_an_int_is_the_random_state_of_that_seed(
    kept: Callable[[np.random.RandomState], np.random.RandomState], seed: int
) -> None:
    state, expected = kept(as_random_state(seed)), np.random.RandomState(seed)
    np.testing.assert_array_equal(state.random_sample(700), expected.random_sample(700))
    assert state.normal() == expected.normal()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_an_int_that_is_no_seed_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"random_state={seed} cannot be used: Seed must be"):
        as_random_state(seed)


def test_a_random_state_stays_the_same() -> None:
    state = np.random.RandomState(0)
    assert as_random_state(state) is state
