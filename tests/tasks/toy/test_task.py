"""The task: every start for itself, whatever shares its run; and what it reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mtlgrad
from mtlgrad.compare.loop import Event, train
from tasks.toy.problems import CONVEX, ELEMENTWISE, PROBLEMS, SURFACE
from tasks.toy.task import REACHED, Decisions, Toy
from tests.tasks.toy import surface_by_hand


def ends(task: Toy, method: mtlgrad.Method, steps: int | None = None) -> Tensor:
    """Where each start ends."""
    history = train(task, method, seed=0, steps=steps, evaluate_every=10_000, diagnose_every=0)
    assert history.status == "ok"
    return torch.stack([point.detach() for point in task.points])


@pytest.mark.parametrize(
    ("method", "weigh"), [(mtlgrad.Sum(), surface_by_hand.equal), (mtlgrad.MGDA(), surface_by_hand.min_norm)]
)
def test_trajectories_are_those_of_plain_scalar_code(method: mtlgrad.Method, weigh: Any) -> None:
    found = ends(Toy(start=3, steps=400), method)[0]
    expected = surface_by_hand.adam(SURFACE.starts[3], 400, weigh)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "method", [mtlgrad.MGDA(), mtlgrad.GH(), mtlgrad.CAGrad(c=0.4)], ids=lambda method: method.name
)
@pytest.mark.parametrize("problem", ["surface", "scaled", "vlmop2"])
def test_starts_in_one_run_do_not_see_each_other(problem: str, method: mtlgrad.Method) -> None:
    together = ends(Toy(problem=problem, steps=40), method)
    apart = ends(Toy(problem=problem, steps=40, decisions="phase"), method)
    alone = torch.cat([ends(Toy(problem=problem, steps=40, start=k), method) for k in range(len(together))])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(apart, alone, rtol=1e-9, atol=1e-12)


def test_constant_weights_may_be_decided_jointly() -> None:
    joint = ends(Toy(problem="surface", steps=40, decisions="joint"), mtlgrad.Sum())
    apart = ends(Toy(problem="surface", steps=40, decisions="phase"), mtlgrad.Sum())
    torch.testing.assert_close(joint, apart, rtol=1e-9, atol=1e-12)


def test_a_joint_decision_of_a_method_that_reads_gradients_is_another_one() -> None:
    joint = ends(Toy(problem="surface", steps=40, decisions="joint"), mtlgrad.MGDA())
    apart = ends(Toy(problem="surface", steps=40, decisions="phase"), mtlgrad.MGDA())
    assert (joint - apart).abs().max() > 1e-3


def test_methods_that_read_losses_cannot_be_decided_per_tensor() -> None:
    with pytest.raises(ValueError, match="reads losses only"):
        ends(Toy(problem="convex"), mtlgrad.Sum())


def test_sum_ends_at_the_analytic_minimum_of_the_sum() -> None:
    found = ends(Toy(problem="convex", decisions="joint"), mtlgrad.Sum())
    A, u = (torch.tensor(v, dtype=torch.float64) for v in (CONVEX.matrices, CONVEX.minima))
    expected = torch.linalg.solve(A.sum(0), (A @ u[..., None]).sum(0))[:, 0]
    torch.testing.assert_close(found, expected.expand(3, -1), rtol=0, atol=1e-3)


def test_evaluation_counts_the_starts_near_the_pareto_set() -> None:
    task = Toy()
    task.setup(seed=0, device=torch.device("cpu"))
    assert task.evaluate()["reached"] == 0
    on = SURFACE.pareto_set(5)
    with torch.no_grad():
        for point, x in zip(task.points, on, strict=True):
            point.copy_(x)
        task.points[1][1] += 0.9 * REACHED
        task.points[2][1] -= 1.1 * REACHED
    found = task.evaluate()
    assert [found[f"reached_{k}"] for k in range(5)] == [1, 1, 0, 1, 1]
    assert found["reached"] == 4
    assert found["distance"] == found["distance_2"] == pytest.approx(1.1 * REACHED, rel=0.01)
    assert found["distance_4"] < 1e-9
    assert task.validation_score() is None


def test_one_start_is_reported_under_its_own_index() -> None:
    task = Toy(problem="elementwise", start=4)
    assert ends(task, mtlgrad.GH()).shape == (1, 2)
    assert set(task.evaluate()) == {"reached", "distance", "reached_4", "distance_4"}
    assert task.evaluate()["reached"] == 1


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("decisions", ["tensor", "phase"])
def test_resume_is_exact_to_the_bit(decisions: Decisions, tmp_path: Path) -> None:
    whole, broken, resumed = (Toy(steps=160, decisions=decisions) for _ in range(3))
    kwargs: dict[str, Any] = {"seed": 1, "evaluate_every": 50, "diagnose_every": 0}
    train(whole, mtlgrad.MGDA(), **kwargs)

    def stop(event: Event) -> None:
        if event.step == 77:
            raise Stop

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(Stop):
        train(broken, mtlgrad.MGDA(), **kwargs, checkpoint=checkpoint, on_event=stop)
    train(resumed, mtlgrad.MGDA(), **kwargs, checkpoint=checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(whole.points, resumed.points, strict=True))
    assert whole.exhibits() == resumed.exhibits()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_trajectories_run_from_the_starts_to_the_ends(problem: str) -> None:
    task = Toy(problem=problem, steps=503)
    last = ends(task, mtlgrad.MGDA())
    shown = task.exhibits()["Trajectories"]
    assert len(json.dumps(shown)) < 100_000
    paths = torch.tensor(shown["paths"], dtype=torch.float64)
    assert 250 <= paths.shape[1] <= 300
    starts = torch.tensor(task.problem.starts, dtype=torch.float64)
    seen = (lambda x: x) if task.problem.n == 2 else task.problem.losses
    torch.testing.assert_close(paths[:, 0], seen(starts), rtol=0, atol=1e-4)
    torch.testing.assert_close(paths[:, -1], seen(last), rtol=0, atol=1e-4)
    front = torch.tensor(shown["front"], dtype=torch.float64)
    if task.problem.n == 2:
        assert task.problem.distance(front).max() < 1e-3
    else:  # in the plane of the losses: f1 = 1 - exp(-4 s^2), f2 = 1 - exp(-4 (1 - s)^2), s from 0 to 1
        roots = (-torch.log(1 - front)).sqrt() / 2
        torch.testing.assert_close(roots.sum(1), torch.ones(len(front), dtype=torch.float64), rtol=0, atol=5e-3)
        assert roots.min() < 5e-3
        assert roots.max() > 1 - 5e-3


def test_contours_hold_the_losses_and_everything_drawn() -> None:
    task = Toy(problem="elementwise")
    ends(task, mtlgrad.MGDA())
    contours = task.exhibits()["Trajectories"]["contours"]
    x, y = contours["x"][7], contours["y"][30]
    assert contours["z"][30][7] == pytest.approx(x * x + y * y, abs=1e-2)
    for axis, values in enumerate(zip(*ELEMENTWISE.starts, strict=True)):
        assert contours["xy"[axis]][0] < min(values)
        assert contours["xy"[axis]][-1] > max(values)


def test_options_rebuild_the_task_with_published_settings_made_explicit() -> None:
    options = Toy(problem="convex").options
    assert (options["steps"], options["lr"], options["optimizer"]) == (200, 0.125, "sgd")
    assert Toy(**options).options == options == json.loads(json.dumps(options))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"problem": "bowl"}, "problem='bowl' is unknown; allowed: \\('surface', 'elementwise'"),
        ({"problem": ["surface"]}, "problem=\\['surface'\\] is unknown"),
        ({"start": 5}, "start=5 is out of range; allowed: int >= 0 and <= 4"),
        ({"start": -1}, "start=-1 is out of range"),
        ({"start": True}, "start=True is a bool; allowed: int >= 0 and <= 4"),
        ({"start": 1.0}, "start=1.0 is a float"),
        ({"steps": 0}, "steps=0 is out of range; allowed: int >= 1"),
        ({"lr": 0.0}, "lr=0.0 is out of range; allowed: a finite number > 0"),
        ({"lr": float("nan")}, "lr=nan is out of range"),
        ({"lr": float("inf")}, "lr=inf is out of range"),
        ({"lr": "x"}, "lr='x' is a str"),
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs' is unknown; allowed: .*'adam', 'sgd'"),
        ({"decisions": "each"}, "decisions='each' is unknown; allowed: .*'tensor', 'joint', 'phase'"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises((ValueError, TypeError), match=told):
        Toy(**options)
