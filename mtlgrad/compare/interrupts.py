"""Ctrl-C and a polite kill where they can be answered: between two training steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], None]]:
    """Hold the first SIGINT (Ctrl-C) or SIGTERM until the yielded function is called, which raises KeyboardInterrupt.

    Inside a step there is no state to resume from; a second signal does not wait. Signals reach the main thread only:
    in any other one nothing needs holding back. A signal that is ignored, as a shell has Ctrl-C for what runs in the
    background, stays ignored.
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

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, hold)
    try:
        yield raise_if_held
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
