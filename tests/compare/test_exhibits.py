"""Trajectories as drawn: what a reader of the figure relies on."""

from __future__ import annotations

from typing import Any

import torch

import mtlgrad
from mtlgrad.compare.loop import train
from mtlgrad.compare.report.exhibits import trajectories
from tasks.toy.task import Toy


def exhibit(problem: str, method: mtlgrad.Method, **options: Any) -> dict[str, Any]:
    task = Toy(problem=problem, **options)
    train(task, method, seed=0, evaluate_every=1000, diagnose_every=0)
    found: dict[str, Any] = task.exhibits()["Trajectories"]
    return found


def test_one_panel_per_method_with_shared_axes_and_the_count_of_arrivals() -> None:
    panels = {
        "sum": exhibit("convex", mtlgrad.Sum(), decisions="joint"),
        "MGDA": exhibit("convex", mtlgrad.MGDA()),
        "GH": exhibit("convex", mtlgrad.GH()),
    }
    figure = trajectories(panels)
    assert [note.text for note in figure.layout.annotations] == ["sum · 3/3", "MGDA · 2/3", "GH · 3/3"]
    ranges = {axis.range for axis in figure.select_xaxes()}, {axis.range for axis in figure.select_yaxes()}
    assert [len(one) for one in ranges] == [1, 1]
    (low, high), (bottom, top) = (next(iter(one)) for one in ranges)
    for trace in figure.select_traces({"mode": "lines+markers"}):
        assert low < min(trace.x) <= max(trace.x) < high
        assert bottom < min(trace.y) <= max(trace.y) < top


def test_lines_run_from_a_hollow_start_to_a_disc_on_the_set_or_a_cross_off_it() -> None:
    shown = exhibit("convex", mtlgrad.MGDA())
    drawn = trajectories({"MGDA": shown}).select_traces({"mode": "lines+markers"})
    lines = [trace for trace in drawn if trace.name != "Pareto set"]
    assert len(lines) == len(shown["paths"]) == 3
    for trace, path, reached in zip(lines, shown["paths"], shown["reached"], strict=True):
        assert [trace.x[0], trace.y[0]] == path[0]
        assert [trace.x[-1], trace.y[-1]] == path[-1]
        assert trace.marker.symbol[0] == "circle-open"
        assert trace.marker.symbol[-1] == ("circle" if reached else "x")
        assert set(trace.marker.size[1:-1]) == {0}
    assert shown["reached"] == [True, False, True]


def test_a_start_keeps_its_colour_and_stands_in_the_legend_once() -> None:
    figure = trajectories({label: exhibit("scaled", mtlgrad.GH()) for label in "abcde"})
    by_name: dict[str, set[str]] = {}
    for trace in figure.select_traces({"mode": "lines+markers"}):
        by_name.setdefault(trace.name, set()).add(trace.line.color)
    assert len(by_name) == 5
    assert all(len(colours) == 1 for colours in by_name.values())
    assert len(set.union(*by_name.values())) == 5
    listed = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(listed) == sorted(by_name)


def test_a_problem_in_many_dimensions_is_drawn_in_the_plane_of_its_losses() -> None:
    shown = exhibit("vlmop2", mtlgrad.GH(), steps=30)
    figure = trajectories({"GH": shown})
    assert not list(figure.select_traces({"type": "contour"}))
    assert [figure.layout.xaxis.title.text, figure.layout.yaxis.title.text] == ["f1", "f2"]
    front = next(trace for trace in figure.data if trace.name == "Pareto set")
    # the concave front: f = 1 - exp(-4 s^2) against 1 - exp(-4 (1 - s)^2)
    s = torch.linspace(0, 1, len(front.x), dtype=torch.float64)
    expected = torch.stack([1 - torch.exp(-4 * (1 - s).square()), 1 - torch.exp(-4 * s.square())])
    torch.testing.assert_close(torch.tensor([front.x, front.y], dtype=torch.float64), expected, rtol=0, atol=1e-4)
