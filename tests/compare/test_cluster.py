"""A Dask cluster makes the same runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from mtlgrad.compare.command import main
from tests.compare.test_function import here, observed

__all__ = ["here"]


@pytest.mark.filterwarnings("ignore")  # of the cluster's own start and end
def test_a_cluster_of_two_workers_gives_the_same_metrics_as_one_process(here: Path) -> None:
    from distributed import LocalCluster

    arguments = ["compare", str(here / "own.toml"), "--out"]
    assert main([*arguments, str(here / "one"), "--jobs", "1"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(here / "dask"),
        ) as cluster:
            assert main([*arguments, str(here / "two"), "--scheduler", cluster.scheduler_address]) == 0
    assert observed(here / "two" / "own") == observed(here / "one" / "own")


def test_a_scheduler_that_does_not_answer_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtlgrad.compare.sweep.ANSWERS_WITHIN_S", 1)
    arguments = ["compare", str(here / "own.toml"), "--out", str(here), "--scheduler"]
    assert main([*arguments, "tcp://127.0.0.1:9"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: --scheduler tcp://127.0.0.1:9: no Dask scheduler answers there")
    assert message.count("\n") == 1
