"""How gradients lie to each other over time: what is recorded, averaged and drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mtlgrad
from mtlgrad.compare.history import Decisions, History, _sum_opposes
from mtlgrad.compare.record import STRETCHES, observed
from mtlgrad.compare.report.heatmaps import gradient_lines, heat_maps
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import rows
from mtlgrad.compare.schema import PhaseSamples
from mtlgrad.compare.suite import Suite
from tests.compare.runs import run


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_whether_the_sum_opposes_a_task_is_what_the_gradients_say(m: int, seed: int) -> None:
    J = torch.randn(m, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    brute = any(float(g @ J.sum(0)) < 0 for g in J)
    assert _sum_opposes(J @ J.T) == brute


def history(steps: int) -> tuple[History, np.ndarray]:
    """Of a run of three tasks under GH, with the cosines [steps, pairs] computed from the gradients themselves."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    balancer = mtlgrad.Balancer(mtlgrad.GH(), net.parameters(), diagnose_every=1)
    decisions, cosines = Decisions(["a", "b", "c"]), []
    for k in range(steps):
        net.zero_grad()
        y = net(torch.randn(8, 4)).sum(1)
        losses = {name: (y * torch.randn(8)).mean() for name in "abc"}
        J = torch.stack(
            [
                torch.cat([g.flatten() for g in torch.autograd.grad(one, list(net.parameters()), retain_graph=True)])
                for one in losses.values()
            ]
        )
        unit = nn.functional.normalize(J, dim=1)
        cosines.append([float(unit[i] @ unit[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
        decisions.add_record(balancer.backward(losses), k)
    found = History(total_steps=steps, metric="accuracy", status="ok", decisions={"pair": decisions})
    return found, np.array(cosines)


@pytest.mark.parametrize("steps", [1, 5, 3 * STRETCHES])
def test_the_timeline_is_the_mean_of_each_stretch(steps: int) -> None:
    found, cosines = history(steps)
    (phase,) = observed(History.from_state(found.state_dict()))["phases"].values()  # a checkpoint keeps everything
    timeline = phase.timeline
    wide = min(steps, STRETCHES)
    assert np.shape(timeline.cosines) == np.shape(timeline.weights) == (wide, 3)
    expected = cosines.reshape(wide, -1, 3).mean(1)
    np.testing.assert_allclose(timeline.cosines, expected, atol=1e-5)
    assert timeline.decision == sorted(timeline.decision)
    assert 0 <= timeline.sum_opposed <= 1
    assert PhaseSamples.model_validate_json(phase.model_dump_json()) == phase


def test_older_files_have_no_timeline_and_are_read() -> None:
    found, _ = history(3)
    (phase,) = observed(found)["phases"].values()
    old = {key: value for key, value in phase.model_dump().items() if key != "timeline"}
    assert PhaseSamples.model_validate(old).timeline is None


def test_three_tasks_are_drawn_with_a_row_for_every_pair_and_task(suite: Suite) -> None:
    phases = observed(history(10)[0])["phases"]
    runs = [
        run(suite, label, seed, 60.0).model_copy(update={"phases": phases})
        for label in ("sum", "GH++ rotation")
        for seed in (0, 1)
    ]
    results = Results(suite, tuple(runs), 0, rows(suite, runs))
    arm = results.arms[0]
    (line, _) = gradient_lines(results, arm)
    assert line[:2] == ["sum", "20"]
    assert line[4].endswith("%")
    assert abs(float(line[5].replace("\N{MINUS SIGN}", "-"))) <= 1
    row = next(row for row in results.rows[arm.name] if row.label == "sum")
    (drawn,) = heat_maps(results, arm, row)
    cosines, weights = drawn.figure.data
    assert list(cosines.y) == ["a \N{MIDDLE DOT} b", "a \N{MIDDLE DOT} c", "b \N{MIDDLE DOT} c"]
    assert list(weights.y) == ["a", "b", "c"]
    assert np.shape(cosines.z) == np.shape(weights.z) == (3, 10)
