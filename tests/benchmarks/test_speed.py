"""The timing harness is fair, and the speed and solver tables measure what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchjd import aggregation

from benchmarks import solvers, speed
from benchmarks.__main__ import main
from benchmarks.timing import Quartiles, ratio, take_turns


def test_turns_rotate_and_warm_up_is_not_counted() -> None:
    order: list[str] = []
    names = ("a", "b", "c")
    contenders = {name: (lambda name=name: order.append(name)) for name in names}  # type: ignore[misc]
    times = take_turns(contenders, rounds=4, before_each=lambda: order.append("."))
    assert [len(times[name]) for name in names] == [4, 4, 4]
    calls = [name for name in order if name != "."]
    assert len(calls) == 3 * 6, "two rounds more than are counted"
    firsts = calls[::3]
    assert set(firsts) == set(names), "each goes first in turn"
    assert order[::2] == ["."] * 18, "prepared before each turn"


def test_ratio_is_taken_within_rounds() -> None:
    # A machine that slows down tenfold half way changes no ratio.
    times = {"a": [2.0, 2.0, 20.0, 20.0], "b": [1.0, 1.0, 10.0, 10.0]}
    assert ratio(times, "a", "b") == Quartiles(2.0, 2.0, 2.0)


def test_the_hand_written_loop_is_the_balancers_equal() -> None:
    net = speed.LeNet()
    net.forward()
    net.by_hand()
    by_hand = [p.grad.clone() for p in [*net.shared, *net.heads.parameters()]]  # type: ignore[union-attr]
    net.forward()
    speed.mtlgrad.Balancer(speed.mtlgrad.GH(), net.shared).backward({"a": net.losses[0], "b": net.losses[1]})
    for p, wanted in zip([*net.shared, *net.heads.parameters()], by_hand, strict=True):
        torch.testing.assert_close(p.grad, wanted, rtol=1e-3, atol=1e-6)


def test_every_peer_is_a_method_of_ours() -> None:
    assert set(speed.PEERS) <= set(speed.catalog.CATALOG)


def test_balancer_section_runs_and_is_written(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    assert main(["speed", "--sections", "balancer", "--rounds", "1", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["balancer"]
    assert rows[0]["/ by hand"]["median"] == 1
    assert {"ms", "/ by hand"} <= set(rows[1])


def test_unknown_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["speed", "--sections", "balance"])
    assert "balancer" in capsys.readouterr().err


@pytest.mark.parametrize("name", solvers.PROBLEMS)
def test_exact_solvers_agree_with_the_printed_problems(name: str) -> None:
    rows = solvers.compare(name, range(2, 5), seed=1)
    assert {row.family for row in rows} >= {"random", "imbalanced", "near_opposite", "zero_row"}
    assert all(row.certificate <= solvers.CERTIFICATE_TOLERANCE for row in rows)
    assert all(row.passed for row in rows), rows
    assert any(row.well_conditioned for row in rows)


def test_a_wrong_solver_fails_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    right = solvers.PROBLEMS["MGDA"]

    def wrong(gram: solvers.Array) -> solvers.Solved:
        solved = right.solve(gram)
        return solvers.Solved(solved.weights * 1.001, solved.certificate)

    monkeypatch.setitem(solvers.PROBLEMS, "MGDA", solvers.Problem(wrong, right.oracle))
    assert not all(row.passed for row in solvers.compare("MGDA", range(2, 4), seed=0))


@pytest.mark.filterwarnings("ignore::UserWarning")  # its Nash-MTL has cvxpy warn
@pytest.mark.parametrize("name", speed.PEERS)
def test_every_peer_decides_on_what_it_is_given(name: str) -> None:
    J = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    answer = speed.PEERS[name](aggregation, 5)(J if name in speed.FROM_JACOBIAN else J @ J.T)
    assert answer.shape == ((12,) if name in speed.FROM_JACOBIAN else (5,))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_decisions_and_aggregations_of_every_method_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SIZES", (5,))
    monkeypatch.setattr(speed, "LARGE", ((5, 1000),))
    assert {row["method"] for row in speed.measure_weights(1)} >= {"UPGrad", "NashMTL", "ConFIG"}
    rows = {row["method"]: row for row in speed.measure_aggregate(1)}
    assert rows["GH"]["/ (Gramian + combination)"].median > 0
    assert rows["GradDrop"]["torchjd / ours"] is not None
