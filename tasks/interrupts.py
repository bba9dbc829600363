"""Ctrl-C where it can be answered: between two training steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], None]]:
    """Hold the first Ctrl-C back until the yielded function is called: inside a step there is no state to resume from.

    Signals reach the main thread only; in any other one nothing needs holding back. Where Ctrl-C is ignored, as a shell
    has it for what runs in the background, it stays ignored.
    """
    held = False

    def hold(number: int, frame: object) -> None:
        nonlocal held
        if held:
            raise KeyboardInterrupt
        held = True

    def raise_if_held() -> None:
        if held:
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield raise_if_held
        return
    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield raise_if_held
    finally:
        signal.signal(signal.SIGINT, previous)
