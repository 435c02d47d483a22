"""Few rows get one thread, many get every core, and neither changes what comes out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_info

from mlops_assets.runtime.threads import threads_for


def threads() -> set[int]:
    """Threads that the OpenMP libraries of this process would use now."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}


@pytest.mark.parametrize(("rows", "is_one"), [(0, True), (99, True), (100, False), (10**6, False)])
def test_few_rows_get_one_thread_and_what_was_before_comes_back(rows: int, is_one: bool) -> None:
    before = threads()
    with threads_for(rows, 100):
        assert threads() == ({1} if is_one else before)
    assert threads() == before


def test_an_error_inside_gives_the_threads_back() -> None:
    before = threads()
    with pytest.raises(ValueError, match="no"), threads_for(1, 100):
        raise ValueError("no")
    assert threads() == before


def test_the_model_is_the_same_by_one_thread_and_by_many() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(20_000, 5))
    y = x @ np.arange(5) + random.normal(size=20_000)
    answers = []
    for rows in (1, 100):
        with threads_for(rows, 100):
            answers.append(HistGradientBoostingRegressor(random_state=0, max_iter=20).fit(x, y).predict(x))
    assert np.array_equal(*answers)
