"""What a run was made with: versions of code and libraries, the class of machine."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version

import joblib
import psutil  # type: ignore[import-untyped]
import torch

from mtlgrad.compare.schema import Machine, Versions
from mtlgrad.compare.sources import LIBRARY, digest_of, sources_of

PAGES = ("compare/command", "compare/report", "compare/statistics")
"""Parts of the library that no run executes: what is made from runs may change without making them outdated."""

UNKNOWN_VERSIONS = Versions(
    commit=None,
    dirty=None,
    code="unknown",
    **dict.fromkeys(("python", "torch", "numpy", "scipy", "accelerate", "mtlgrad"), "unknown"),
)
UNKNOWN_MACHINE = Machine(kind="unknown", cores=1, memory_gb=1.0, accelerator=None)
"""Of a run that failed before these could be asked for."""


@lru_cache
def versions(source: str | None = None) -> Versions:
    """Of Python, the libraries and the code: the library's, and that of the problem that is found at `source`."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain")
    return Versions(
        python=platform.python_version(),
        commit=commit,
        dirty=None if status is None else bool(status),
        code=code_digest(source),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "accelerate", "mtlgrad")},
    )


@lru_cache
def code_digest(source: str | None = None) -> str:
    """Of the Python sources that a run executes: equal digests mean that the same code ran, committed or not.

    Those are the library's, and for `source`, where a problem is imported from, what `sources_of` finds. Once a
    process: the digest is of the code that was loaded, not of what the tree holds by the end.
    """
    pages = [LIBRARY / name for name in PAGES]
    found = [path for path in LIBRARY.rglob("*.py") if not any(page in path.parents for page in pages)]
    return digest_of((LIBRARY.parent, found), sources_of(source))


@lru_cache
def own_digest(source: str) -> str:
    """The same of the sources at `source` alone, such as a method of one's own."""
    return digest_of(sources_of(source))


def reread() -> None:
    """Digest anew when asked next: code was loaded again."""
    for kept in (versions, code_digest, own_digest):
        kept.cache_clear()


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
    """The output of git; None without git, or where the library is no part of a repository.

    An installed library may lie inside a repository that is not its own: that of the project it serves.
    """
    try:
        for command in (("ls-files", "--error-unmatch", __file__), arguments):
            done = subprocess.run(
                ["git", *command], cwd=LIBRARY, capture_output=True, text=True, timeout=20, check=True
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
