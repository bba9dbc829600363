"""What a run was made with: versions of code and libraries, the class of machine."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import joblib
import psutil  # type: ignore[import-untyped]
import torch

from benchmarks.schema import Machine, Versions

ROOT = Path(__file__).parent.parent


@lru_cache(maxsize=1)
def versions() -> Versions:
    """Of Python, the libraries and the code."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain")
    return Versions(
        python=platform.python_version(),
        commit=commit,
        dirty=None if status is None else bool(status),
        code=code_digest(),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "accelerate", "mtlgrad")},
    )


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Of the Python sources of library and tasks: equal digests mean that the same code ran, committed or not."""
    digest = hashlib.sha256()
    for package in ("mtlgrad", "tasks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@lru_cache(maxsize=1)
def machine() -> Machine:
    """E.g. a "2-core x86_64 CPU" with 24 GB."""
    cores = joblib.cpu_count()
    return Machine(
        kind=f"{cores}-core {platform.machine() or 'unknown'} CPU",
        cores=cores,
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        accelerator=torch.cuda.get_device_name().replace("/", "-") if torch.cuda.is_available() else None,
    )


def provenance(*packages: str) -> str:
    """Machine, code and libraries in a line, for tables that a command writes.

    Parameters
    ----------
    packages:
        Distributions to name beside NumPy and SciPy.
    """
    found = versions()
    others = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{machine().kind}, mtlgrad {found.mtlgrad} ({found.tree}), torch {found.torch}, NumPy {found.numpy}, "
        f"SciPy {found.scipy}, {others}"
    )


def _git(*arguments: str) -> str | None:
    """The output of git, or None outside a repository or without git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
