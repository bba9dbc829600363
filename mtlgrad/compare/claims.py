"""Who makes which run: several launchers on one folder, on one machine or on many, make every run once.

A claim is a file, made so that only one can make it, and touched now and then while the run lasts. The claim of a
process that is gone, or that has not touched it for a while, may be taken over.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

TOUCHED_EVERY_S = 10.0
LOST_AFTER_S = 120.0
"""A claim from another machine that has not been touched for so long is nobody's. Both clocks are the file server's."""


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether the claim is ours inside; it is given back at the end.

    Where no file can be made at all, the claim counts as ours: the run itself will say what is wrong with the folder.
    """
    mine = _taken(path)
    stop = threading.Event()
    thread = threading.Thread(target=_touch, args=(path, stop), daemon=True)
    if mine:
        thread.start()
    try:
        yield mine
    finally:
        if mine:
            stop.set()
            thread.join()
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _taken(path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _made(path):
            return True
        if not _lost(path):
            return False
        # Of several that find it lost, one may take it over: the one that makes this second file.
        takeover = path.with_name(path.name + ".takeover")
        if not _made(takeover):
            if _lost(takeover):  # whoever made it is gone too: the next look will find the way free
                takeover.unlink(missing_ok=True)
            return False
        try:
            if path.exists() and not _lost(path):  # somebody was quicker
                return False
            path.unlink(missing_ok=True)
            return _made(path)
        finally:
            takeover.unlink(missing_ok=True)
    except OSError:
        return True


def _made(path: Path) -> bool:
    """Make the file with our name in it, unless it is there."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "begun": begun_at(os.getpid())}, file)
    return True


def _lost(path: Path) -> bool:
    """Whether nobody stands behind the claim any more."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        host, pid, begun = holder["host"], holder["pid"], holder["begun"]
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):  # cut short, or just being written
        return untouched_s(path) > LOST_AFTER_S
    if host == socket.gethostname():
        return bool(begun_at(pid) != begun)
    return untouched_s(path) > LOST_AFTER_S


def untouched_s(path: Path) -> float:
    """Seconds since a file was touched, by the clock that stamps the files of its folder."""
    probe = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.now")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def begun_at(pid: int) -> float | None:
    """When a process of this machine began, which tells it from a later one of the same number; None: it is gone."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def _touch(path: Path, stop: threading.Event) -> None:
    while not stop.wait(TOUCHED_EVERY_S):
        with suppress(OSError):
            os.utime(path)
