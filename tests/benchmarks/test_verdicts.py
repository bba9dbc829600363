"""A small version of the simulation whose figures are committed, and the figures themselves."""

import json

import numpy as np
import pytest

from benchmarks import verdicts
from benchmarks.verdicts import Setting, false_alarms, false_equivalence, finds
from mtlgrad.compare.statistics.significance import seeds_for_difference


def test_nothing_there_nothing_said():
    outcome = false_alarms(Setting(methods=4, seeds=5, correlation=0.5), comparisons=150, seed=1)
    assert outcome.held
    assert outcome.share < 0.1


def test_without_correction_the_same_data_cry_wolf(monkeypatch):
    """That the simulation can fail: Holm taken out, a family of eight errs far more often than promised."""
    monkeypatch.setattr("mtlgrad.compare.statistics.verdicts.holm", lambda p_values: list(p_values))
    assert not false_alarms(Setting(methods=8, seeds=5), comparisons=80, seed=1).held


def test_what_is_there_is_found():
    seeds = seeds_for_difference(1.0, level=0.05 / 3)
    assert finds(Setting(methods=3, seeds=seeds, effect=1.0, different=1), comparisons=150, seed=2).held
    assert not finds(Setting(methods=3, seeds=seeds, effect=0.3, different=0), comparisons=50, seed=2).share > 0.1


def test_what_differs_by_the_margin_is_not_equivalent():
    setting = Setting(methods=4, seeds=8, effect=1.0, different=4, margin=1.0)
    assert false_equivalence(setting, comparisons=150, seed=3).held


@pytest.mark.parametrize("noise", ["normal", "heavy", "skewed"])
def test_differences_have_spread_one(noise):
    frame = (
        Setting(1, 20_000, correlation=0.8, noise=noise)
        .draw(np.random.default_rng(0))
        .pivot(index="seed", columns="method", values="score")
    )
    assert (frame["method 1"] - frame["baseline"]).std() == pytest.approx(1.0, abs=0.05)
    assert frame.corr().iloc[0, 1] == pytest.approx(0.8, abs=0.05)


def test_the_committed_figures_hold_every_promise():
    summary = json.loads((verdicts.OUT / "figures.json").read_text())
    assert summary["comparisons"] >= 1_000
    assert all(one["held"] for one in summary["outcomes"])
    alarms = [one for one in summary["outcomes"] if "called better or worse" in one["what"]]
    assert len(alarms) >= 10


def test_the_command_writes_its_figures(tmp_path, monkeypatch, capsys):
    from benchmarks.__main__ import main

    small = [false_alarms(Setting(2, 4), comparisons=20)]
    monkeypatch.setattr(verdicts, "outcomes", lambda comparisons: small)
    assert main(["verdicts", "--comparisons", "20", "--out", str(tmp_path)]) == 0
    assert "an equal method called better or worse" in capsys.readouterr().out
    assert "| an equal method" in (tmp_path / "table.md").read_text()
    assert json.loads((tmp_path / "figures.json").read_text())["comparisons"] == 20
