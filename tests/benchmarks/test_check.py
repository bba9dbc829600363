"""Committed results of other code are told from those of this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import check
from benchmarks.__main__ import SUITES, main
from mtlgrad import GH
from mtlgrad.compare.suite import find, load
from tasks.registry import PROBLEMS


def test_a_result_that_would_differ_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "RESULTS", tmp_path)
    assert main(["check", "--write", "quadratics"]) == 0
    kept = json.loads((tmp_path / "quadratics" / "probes.json").read_text())
    suite = load(find("quadratics", SUITES))
    assert len(kept) == len(suite.arms) * len(suite.methods)
    assert main(["check"]) == 0
    capsys.readouterr()
    real = GH._weights
    monkeypatch.setattr(GH, "_weights", lambda self, *one, **two: 1.1 * real(self, *one, **two))
    assert main(["check"]) == 1
    told = capsys.readouterr().out
    assert ", GH: " in told
    assert ", sum: " not in told


def test_fingerprints_do_not_depend_on_the_order_of_runs() -> None:
    suite = load(find("quadratics", SUITES)).restricted(methods=["GH"])
    first = check.fingerprints(suite, PROBLEMS)
    torch.randn(3)
    assert check.fingerprints(suite, PROBLEMS) == first


def test_a_result_without_probes_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "RESULTS", tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "summary.json").write_text("{}")
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith("digits: no probes were kept with it")
    assert main(["check", "digits"]) == 2
    assert "digits: no probes.json can be read" in capsys.readouterr().err
