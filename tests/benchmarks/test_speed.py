"""The timing harness is fair, and the speed and solver tables measure what they say."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torchjd import aggregation

import mtlgrad
from benchmarks import solvers, speed
from benchmarks.__main__ import main
from benchmarks.timing import Quartiles, Times, ratio, take_turns


def test_turns_are_drawn_and_warm_up_is_not_counted() -> None:
    order: list[str] = []
    names = ("a", "b", "c")
    contenders = {name: (lambda name=name: order.append(name)) for name in names}  # type: ignore[misc]
    times = take_turns(contenders, rounds=10, before_each=lambda: order.append("."))
    assert [len(times[name]) for name in names] == [10, 10, 10]
    calls = [name for name in order if name != "."]
    assert len(calls) == 3 * 12, "two rounds more than are counted"
    assert all(set(calls[k : k + 3]) == set(names) for k in range(0, 36, 3)), "once a round each"
    assert set(calls[::3]) == set(names), "each goes first in turn"
    after = {name: {one for one, other in itertools.pairwise(calls) if other == name} for name in names}
    assert all(len(after[name] - {name}) == 2 for name in names), "nobody always comes after the same contender"
    assert order[::2] == ["."] * 36, "prepared before each turn"


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
    figures, tables = tmp_path / "speed.json", tmp_path / "new" / "table.md"
    arguments = ["--sections", "balancer", "--rounds", "1", "--json", str(figures), "--out", str(tables)]
    assert main(["speed", *arguments]) == 0
    rows = json.loads(figures.read_text())["balancer"]
    names = [row["backward of"] for row in rows]
    assert names[0] == "two autograd.grad calls, by hand"
    assert {"Balancer(GH())", "torchjd mtl_backward + UPGrad"} < set(names)
    text = tables.read_text()
    assert "2 rounds." in text
    assert all(f"| {name} | {row['ms']['median']:.4g} (" in text for name, row in zip(names, rows, strict=True))
    assert f"torch {torch.__version__}" in text
    assert f"torchjd {version('torchjd')}" in text
    assert "commit " in text


def test_the_solvers_table_is_written_with_what_made_it(tmp_path: Path) -> None:
    tables = tmp_path / "solvers.md"
    assert main(["solvers", "--largest", "2", "--seed", "3", "--out", str(tables)]) == 0
    text = tables.read_text()
    assert "m from 2 to 2, seed 3" in text
    assert f"cvxpy {version('cvxpy')}" in text
    assert all(f"| {name} | near_opposite | " in text for name in solvers.PROBLEMS)


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


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Nothing is timed: every contender is called once, its answer is kept, and its time is its place from 1, in ms."""
    answers: list[dict[str, Any]] = []

    def once(contenders: Mapping[str, Callable[[], object]], *, rounds: int, **others: object) -> Times:
        answers.append({name: call() for name, call in contenders.items()})
        return {name: [1e-3 * place] * rounds for place, name in enumerate(contenders, start=1)}

    monkeypatch.setattr(speed, "take_turns", once)
    return answers


AGREE = {"UPGrad", "DualProj", "IMTLG", "FairGrad", "AlignedMTL", "ConFIG"}
"""Methods whose decision is the same on both sides but for its length, to the tolerance of the peer's solver."""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_both_sides_are_asked_for_the_same_decision(
    monkeypatch: pytest.MonkeyPatch, timed: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(speed, "SIZES", (5,))
    rows = speed.measure_weights(3)
    assert len(rows) == len(speed.PEERS)
    for row, answers in zip(rows, timed, strict=True):
        ours, theirs = (answers[side].double() for side in ("ours", "torchjd"))
        assert ours.shape == theirs.shape
        if row["method"] in AGREE:
            torch.testing.assert_close(ours / ours.norm(), theirs / theirs.norm(), rtol=0, atol=2e-3)
        assert row["ours, us"] == Quartiles(1e3, 1e3, 1e3)
        assert row["torchjd / ours"] == Quartiles(2.0, 2.0, 2.0)
    assert {row["method"] for row in rows} > AGREE


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_aggregations_of_every_method_are_measured_against_the_floor(
    monkeypatch: pytest.MonkeyPatch, timed: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(speed, "LARGE", ((5, 1000),))
    rows = speed.measure_aggregate(3)
    by_name = {row["method"]: (row, answers) for row, answers in zip(rows, timed, strict=True)}
    J = torch.randn(5, 1000, generator=torch.Generator().manual_seed(0))
    row, answers = by_name["GH"]
    assert answers["floor"].shape == (1000,)
    torch.testing.assert_close(answers["ours"], mtlgrad.GH()(J))
    assert (row["ms"], row["/ (Gramian + combination)"]) == (Quartiles(2.0, 2.0, 2.0), Quartiles(2.0, 2.0, 2.0))
    assert row["torchjd / ours"] is None
    for name in ("GradDrop", "ConFIG"):
        assert by_name[name][0]["torchjd / ours"] == Quartiles(1.5, 1.5, 1.5)
    torch.testing.assert_close(by_name["ConFIG"][1]["ours"], by_name["ConFIG"][1]["torchjd"], rtol=1e-3, atol=1e-4)
    expected = {"UPGrad", "MGDA", "CAGrad", "NashMTL", "Krum", "TrimmedMean"}
    assert expected <= set(by_name)
    assert not {"Sum", "FAMO", "MoCo"} & set(by_name), "what reads losses or keeps a J of its own is another matter"
