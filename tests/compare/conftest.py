"""A comparison on the millisecond task."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtlgrad.compare.suite import Suite, load

SUITE = """
name = "small"
title = "A small comparison <b>"
description = "Two arms."
problem = "tests.compare.linear:Linear"
seeds = [0, 1, 2]
steps = 12
evaluate_every = 3
baseline = "sum"

[[arms]]
name = "plain"
title = "plain"

[[arms]]
name = "biased"
title = "biased"
options = { target_bias = 1.0 }

[[methods]]
label = "slow"
method = "sum"
problem_options = { rate = 0.001 }
role = "reference"

[[methods]]
label = "sum"
method = "sum"
group = "tuned weights"

[[methods]]
label = "GH++ rotation"
method = "ghpp"
args = { form = "rotation" }

[[methods]]
label = "fixed 0.5 / 1.5"
method = "fixed"
args = { weights = [0.5, 1.5] }
group = "tuned weights"
"""


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.fixture
def suite(suite_file: Path) -> Suite:
    return load(suite_file)
