"""How much memory is left where the parameters are."""

from __future__ import annotations

from pathlib import Path

import torch

_ACCOUNT = Path("/proc/meminfo")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on `device` without taking them from others; None: the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "cpu" and _ACCOUNT.exists():
        for line in _ACCOUNT.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return None
