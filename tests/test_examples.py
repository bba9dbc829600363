"""The programs in examples/ run and learn."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def main(name: str):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("with_*.py")} == {
        "with_accelerate",
        "with_lightning",
        "with_transformers",
    }


def test_accelerate(tmp_path: Path) -> None:
    assert main("with_accelerate")(str(tmp_path)) > 0.5  # by chance: 0.1


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning")  # Lightning 2.6 with torch 2.13
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_lightning(tmp_path: Path) -> None:
    assert main("with_lightning")(str(tmp_path)) > 0.5


def test_transformers(tmp_path: Path) -> None:
    history = main("with_transformers")(str(tmp_path))
    assert any("loss/parity" in entry for entry in history)
    assert any("conflict/min_cosine" in entry for entry in history)
