"""The only training loop: it drives any problem with any method and knows neither by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from mtlgrad import Method
from mtlgrad.compare.checkpoints import save_atomically
from mtlgrad.compare.checks import integer, number
from mtlgrad.compare.history import Evaluation, History
from mtlgrad.compare.interrupts import interrupts_between_steps
from mtlgrad.compare.problem import Problem
from mtlgrad.compare.training import Training


@dataclass(frozen=True)
class Event:
    """Told to `on_event` after each training step and after each evaluation."""

    step: int
    """Steps done."""
    total: int
    evaluation: Evaluation | None = None
    """The evaluation that has just been made, if that is the news."""


def train(
    problem: Problem,
    method: Method,
    *,
    seed: int,
    evaluate_every: int,
    steps: int | None = None,
    diagnose_every: int = 10,
    accelerator: Accelerator | None = None,
    on_event: Callable[[Event], None] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every_s: float = 30.0,
    patience: int = 20,
) -> History:
    """Train `problem` with `method`, from its checkpoint if there is one; a function of the arguments and the seed.

    Per phase: gradients are zeroed; one loss is back-propagated, several go through a Balancer of that phase; the
    optimizers step. A phase with a loss or a gradient of the pair that is not finite makes no update.

    Parameters
    ----------
    problem:
        Fresh: `setup` is called here, with `seed` and the accelerator's device.
    method:
        Decides every phase with several losses.
    seed:
        Of the problem, of the method's draws and of torch's default generator (dropout), which is put back afterwards.
    evaluate_every:
        Steps between evaluations; the last step is always evaluated.
    steps:
        Training steps; None: `problem.total_steps`.
    diagnose_every:
        Every k-th decision of a phase is measured and kept in the history; 0: none.
    accelerator:
        Device, precision ("no" or "bf16") and trackers, which get metrics and conflicts. None: `Accelerator()`. Where
        there are several processes, gradients are averaged over them (`mtlgrad.compare.own_part` gives a problem its
        part of a batch), and the first one writes the checkpoint, which all must be able to read.
    on_event:
        Called between steps. If it raises KeyboardInterrupt, the checkpoint is brought up to date first.
    checkpoint, checkpoint_every_s:
        A file, replaced atomically when so many seconds have passed since it last was (0: after every step), and on an
        interrupt. Where it exists, training goes on from it, bit for bit as if it had never stopped. The caller removes
        it.
    patience:
        So many steps in a row with an update missing, and the run has diverged.

    Returns
    -------
    History
        With status "ok" or "diverged".

    Raises
    ------
    ValueError, TypeError
        An argument out of range or of the wrong type; a precision that is not supported; a phase that does not fit.
    CheckpointError
        The checkpoint cannot be read, or is of another run.
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, once the step in progress is done; on a second one, at once.

    Examples
    --------
    With a problem of two steps (`mtlgrad.compare.Problem` shows a whole one):

    >>> history = train(problem, mtlgrad.GH(), seed=0, evaluate_every=1)  # doctest: +SKIP
    >>> history.status, [evaluation.step for evaluation in history.curve]  # doctest: +SKIP
    ('ok', [1, 2])
    """
    integer("evaluate_every", evaluate_every, low=1)
    integer("diagnose_every", diagnose_every, low=0)
    integer("patience", patience, low=1)
    integer("steps", problem.total_steps if steps is None else steps, low=1)
    number("checkpoint_every_s", checkpoint_every_s)
    accelerator = accelerator or Accelerator()
    _check_accelerator(accelerator)
    device = accelerator.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        problem.setup(seed=seed, device=device)
        run = Training(problem, method, seed, accelerator, steps or problem.total_steps, diagnose_every, patience)
        if checkpoint is not None and checkpoint.exists():
            run.load(checkpoint)
        saved = time.monotonic()

        def save() -> None:
            """A checkpoint that cannot be written costs the run nothing but the way back to here."""
            if checkpoint is None or not accelerator.is_main_process:
                return
            try:
                save_atomically(run.state_dict(), checkpoint)
            except OSError as error:
                note = f"no checkpoint could be written: {error.strerror or error}"
                if note not in run.history.notes:
                    run.history.notes.append(note)

        with interrupts_between_steps() as raise_if_interrupted:
            while run.history.status == "running":
                run.step()
                due = run.finished or run.history.steps % evaluate_every == 0
                evaluation = run.evaluate() if due else None
                try:
                    if on_event is not None:
                        on_event(Event(run.history.steps, run.history.total_steps, evaluation))
                    raise_if_interrupted()
                except KeyboardInterrupt:
                    save()
                    raise
                if checkpoint is not None and time.monotonic() - saved >= checkpoint_every_s:
                    save()
                    saved = time.monotonic()
    return run.history


def _check_accelerator(accelerator: Accelerator) -> None:
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(
            f"accelerator.mixed_precision must be 'no' or 'bf16', got {accelerator.mixed_precision!r}: float16 needs "
            "loss scaling, which this loop does not do (`mtlgrad.Balancer.backward(scale=)` does)"
        )
