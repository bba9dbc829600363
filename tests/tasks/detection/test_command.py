"""`python -m tasks.detection`: what it prints, and how it refuses."""

from __future__ import annotations

import re

import pytest

from tasks.detection.__main__ import main


@pytest.mark.parametrize("stage", ["ssd", "dssd"])
def test_it_describes_and_measures(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dssd-small", "--batch", "2", "--classes", "3", "--stage", stage]) == 0
    out = capsys.readouterr().out
    assert f"stage {stage} trains" in out
    assert [int(count.replace(",", "")) for count in re.findall(r"x 8 = ([\d,]+)", out)] == [2048, 512, 128, 32]
    assert "in all 2,720" in out
    losses = re.search(r"training step of 2: [\d.]+ s \(localisation ([\d.]+), classification ([\d.]+)\)", out)
    assert losses is not None
    assert all(0 < float(value) < 50 for value in losses.groups())
    assert re.search(r"inference of 2: [\d.]+ s \(\d+ boxes found\)", out)
    assert re.search(r"peak memory: [\d.]+ GB", out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "0"], "batch=0 is out of range; allowed: int >= 1"),
        (["--classes", "0"], "classes=0 is out of range; allowed: int >= 1"),
        (["--weights", "nowhere"], "weights='nowhere' holds no readable config.json"),
    ],
)
def test_one_line_for_what_cannot_be_met(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dssd-small", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {message}\n"


@pytest.mark.parametrize("arguments", [[], ["dssd"], ["dssd-small", "--stage", "third"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "python -m tasks.detection: error:" in capsys.readouterr().err
