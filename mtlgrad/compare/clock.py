"""When a run began and ended."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """When something began and how long it has lasted, whatever is done to the machine's clock meanwhile."""

    def __init__(self) -> None:
        self.begun = datetime.now(UTC)
        self._at = time.monotonic()

    def now(self) -> datetime:
        return self.begun + timedelta(seconds=time.monotonic() - self._at)
