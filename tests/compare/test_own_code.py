"""Results are those of the code and the values that they were asked of: edits and other values are told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mtlgrad.compare import environment
from mtlgrad.compare.environment import code_digest, own_digest
from mtlgrad.compare.job import Job
from mtlgrad.compare.run import execute
from mtlgrad.compare.schema import read_run
from tests.compare.test_function import ENVIRONMENT
from tests.compare.test_run import make

PROBLEM = """
from nets import FACTOR

def train(method, run):
    return {"loss": FACTOR * run.seed + getattr(method, "V", 0)}
"""
METHOD = """
from dataclasses import dataclass
import mtlgrad

@dataclass(frozen=True)
class Mine(mtlgrad.GH):
    V = 7
"""
SUITE = """
name = "s"
problem = "p.py:train"
seeds = [0, 1]
baseline = "sum"
metrics = { loss = "min" }
[[methods]]
label = "sum"
method = "sum"
[[methods]]
label = "mine"
method = "m.py:Mine"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "p.py").write_text(PROBLEM, encoding="utf-8")
    (tmp_path / "nets.py").write_text("FACTOR = 1.0\n", encoding="utf-8")
    (tmp_path / "m.py").write_text(METHOD, encoding="utf-8")
    (tmp_path / "s.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    environment.reread()


@pytest.mark.parametrize(
    ("name", "old", "new"), [("p.py", "* run.seed", "+ run.seed"), ("nets.py", "1.0", "500.0"), ("s.toml", "sum", "s")]
)
def test_the_digest_of_a_file_is_of_what_it_holds_and_imports(own: Path, name: str, old: str, new: str) -> None:
    source = f"{own / 'p.py'}:train"
    before = code_digest(source)
    assert before != code_digest()
    edit(own / name, old, new)
    assert (code_digest(source) == before) is (name == "s.toml")
    edit(own / name, new, old)
    assert code_digest(source) == before


def test_folders_beside_a_file_count_where_it_imports_them(own: Path) -> None:
    for name in ("used", "idle"):
        (own / name / "deep").mkdir(parents=True)
        (own / name / "deep" / "layers.py").write_text("import nets\n", encoding="utf-8")
        (own / name / "__init__.py").touch()
    edit(own / "p.py", "from nets import FACTOR", "def lazily():\n    from used.deep import layers\nFACTOR = 2")
    before = own_digest(f"{own / 'p.py'}:train")
    edit(own / "idle" / "deep" / "layers.py", "nets", "json")
    assert own_digest(f"{own / 'p.py'}:train") == before
    edit(own / "nets.py", "1.0", "2.0")  # by way of the package
    then = own_digest(f"{own / 'p.py'}:train")
    assert then != before
    edit(own / "used" / "deep" / "layers.py", "nets", "json")
    assert own_digest(f"{own / 'p.py'}:train") not in (before, then)


def test_a_file_that_is_none_has_the_digest_of_nothing(own: Path) -> None:
    edit(own / "m.py", "import mtlgrad", "import mtlgrad (")
    assert own_digest(f"{own / 'm.py'}:Mine") != own_digest(f"{own / 'p.py'}:train")
    assert code_digest(f"{own / 'none.py'}:train") == code_digest("no.such.module:train") == code_digest()


def test_what_ships_is_digested_as_ever() -> None:
    job = Job(make(Path()).identity, Path())
    assert job.method_code is None
    assert job.checkpoint.name.endswith(f"-{code_digest(job.source)}.pt")


@pytest.mark.parametrize("by_file", [True, False])
def test_a_method_of_ones_own_that_is_edited_shows(own: Path, by_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(own)
    plain = make(own)
    execute(plain)
    name = f"{own / 'm.py'}:Mine" if by_file else "m:Mine"
    job = replace(plain, identity=plain.identity.model_copy(update={"method": name, "label": "mine"}))
    assert execute(job).status == "ok"
    assert not job.outdated()
    checkpoint = job.checkpoint
    edit(own / "m.py", "V = 7", "V = 8")
    assert job.outdated()
    assert job.checkpoint != checkpoint
    assert not plain.outdated()


def test_an_edit_between_two_calls_is_told_on_the_console_and_in_the_table(own: Path) -> None:
    command = [sys.executable, "-m", "mtlgrad.compare", "compare", "s.toml", "--out", "out", "--jobs", "1", "--seeds"]

    def run(seeds: str) -> str:
        done = subprocess.run([*command, seeds], cwd=own, capture_output=True, text=True, env=ENVIRONMENT, check=True)
        return done.stdout

    attention = "these runs were made by more than one version of the code"
    assert "another version" not in run("1")
    edit(own / "m.py", "V = 7", "V = 8")
    assert "1 of those there come from another version of the code" in run("2")
    table = (own / "out" / "s" / "table.md").read_text(encoding="utf-8")
    assert attention in table
    for path in (own / "out" / "s" / "runs").glob("*mine*"):
        path.unlink()
    assert "another version" not in run("2")
    assert attention not in (own / "out" / "s" / "table.md").read_text(encoding="utf-8")
    edit(own / "nets.py", "1.0", "500.0")
    assert "4 of those there come from another version of the code" in run("3")
    assert attention in (own / "out" / "s" / "table.md").read_text(encoding="utf-8")
    codes = {run.label: run.method_code for run in map(read_run, (own / "out" / "s" / "runs").glob("*.json"))}
    assert codes["sum"] is None
    assert codes["mine"] is not None
