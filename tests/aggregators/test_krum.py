"""Krum and Multi-Krum against the definition spelled out on J."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from mtlgrad import Krum, Mean


@given(st.integers(0, 10**6), st.integers(3, 12), st.data())
@settings(deadline=None, max_examples=80)
def test_it_averages_the_gradients_with_the_lowest_scores(seed: int, m: int, data: st.DataObject) -> None:
    byzantine = data.draw(st.integers(0, (m - 3) // 2))
    selected = data.draw(st.integers(1, m))
    J = torch.randn(m, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    scores = []
    for i in range(m):
        apart = sorted(float((J[i] - J[j]).square().sum()) for j in range(m) if j != i)
        scores.append(sum(apart[: m - byzantine - 2]))
    # Mutual nearest neighbours tie up to rounding when each has one: compare the scores, not the indices.
    weights = Krum(byzantine, selected).weights(J @ J.T)
    chosen = weights.nonzero()[:, 0].tolist()
    assert len(chosen) == selected
    assert sorted(scores[i] for i in chosen) == pytest.approx(sorted(scores)[:selected])
    assert weights[chosen].tolist() == pytest.approx([1 / selected] * selected)


def test_outliers_do_not_move_it() -> None:
    J = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3
    honest = J[:6].mean(0)
    J[6:] = torch.tensor([[-100.0], [1e6], [-1e9]])
    for method in (Krum(3), Krum(3, selected=4)):
        assert float((method(J) - honest).norm()) < 5
    assert float((Mean()(J) - honest).norm()) > 1e6


def test_equal_scores_go_to_the_lower_index() -> None:
    J = torch.ones(5, 2)
    assert Krum().weights(J @ J.T).tolist() == [1, 0, 0, 0, 0]


def test_it_needs_enough_tasks() -> None:
    with pytest.raises(ValueError, match=r"Krum.*at least 7.*m=6"):
        Krum(byzantine=2)(torch.eye(6))
    with pytest.raises(ValueError, match=r"Krum.*at least 4.*m=3"):
        Krum(byzantine=0, selected=4)(torch.eye(3))


@pytest.mark.parametrize(("argument", "value"), [("byzantine", -1), ("byzantine", 0.5), ("selected", 0)])
def test_bad_hyperparameters_are_named(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be an int >= .*, got {value}"):
        Krum(**{argument: value})  # type: ignore[arg-type]
