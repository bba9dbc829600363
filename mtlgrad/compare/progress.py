"""How a sweep shows itself: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mtlgrad.compare.job import Job
from mtlgrad.compare.metrics import rounded
from mtlgrad.compare.registry import make_problem
from mtlgrad.compare.schema import Run

POLL_S = 0.3


class Display(ABC):
    """Told when a run ends; finds out by itself how the others are doing."""

    @abstractmethod
    def done(self, job: Job, run: Run) -> None:
        """A run has ended."""

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Lines(Display):
    """A line a run: what a log file or a CI page can hold."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0

    def done(self, job: Job, run: Run) -> None:
        self._done += 1
        self._console.print(
            f"[{self._done}/{self._total}] {job.identity.arm}  {describe(run, main_of(job))}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class Bars(Display):
    """One bar per running run, and one over all, in steps, which is what the time left is estimated from."""

    def __init__(self, console: Console, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._steps = {job.stem: total_steps(job) for job in jobs}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            speed_estimate_period=120,
        )
        self._overall = self._progress.add_task("all runs", total=sum(self._steps.values()), note="")
        self._bars: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def done(self, job: Job, run: Run) -> None:
        with self._lock:
            self._ended.add(job.stem)
            if job.stem in self._bars:
                self._progress.remove_task(self._bars.pop(job.stem))
        style = {"ok": "green", "diverged": "yellow", "failed": "red"}[run.status]
        line = f"[{style}]●[/] [dim]{job.identity.arm}[/]  {escape(describe(run, main_of(job)))}"
        self._progress.console.print(line, highlight=False)
        self._look()

    def __enter__(self) -> Display:
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._progress.stop()

    def _poll(self) -> None:
        while not self._stop.wait(POLL_S):
            self._look()

    def _look(self) -> None:
        with self._lock:
            steps = sum(self._steps[stem] for stem in self._ended)
            for job in self._jobs:
                if job.stem in self._ended:
                    continue
                try:
                    live = json.loads(job.live.read_text(encoding="utf-8"))
                except (OSError, json.JSONDecodeError):
                    continue  # not begun, or just ended
                steps += live["step"]
                if job.stem not in self._bars:
                    name = f"  {job.identity.arm}  {escape(job.identity.label)}  seed {job.identity.seed}"
                    self._bars[job.stem] = self._progress.add_task(name, total=live["total"], note="")
                note = "" if live["metric"] is None else rounded(live["metric"], None)
                self._progress.update(self._bars[job.stem], completed=live["step"], note=note)
            note = f"{len(self._ended)}/{len(self._jobs)} runs"
            self._progress.update(self._overall, completed=steps, note=note)


def total_steps(job: Job) -> int:
    """How many steps the run will have; 0 where nobody can know."""
    kind = job.find_problem()
    if isinstance(kind, type):
        return make_problem(kind, job.identity.problem_options).total_steps
    steps = job.identity.problem_options.get("steps", 0)
    return steps if isinstance(steps, int) else 0


def main_of(job: Job) -> str:
    """The main metric of the comparison that a run is of; empty where the problem's own is."""
    return job.metrics[0] if job.metrics else ""


def describe(run: Run, metric: str = "") -> str:
    """A run in one line, with a metric at the last step; without one, with what the run calls its main metric."""
    seconds = (run.finished - run.started).total_seconds()
    name = metric or run.metric
    value = run.metrics.final.get(name) if run.metrics else None
    outcome = "no result" if value is None else f"{name} {rounded(value, None)}"
    head = f"{run.label}  seed {run.seed}  {outcome}  ({seconds:.0f} s)"
    return head if run.status == "ok" else f"{head}  {run.status}: {run.reason}"


@contextmanager
def display(console: Console, jobs: Sequence[Job]) -> Iterator[Display]:
    """Bars on a terminal, lines elsewhere."""
    chosen = Bars(console, jobs) if console.is_terminal else Lines(console, len(jobs))
    with chosen as shown:
        yield shown
