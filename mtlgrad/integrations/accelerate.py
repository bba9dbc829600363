"""Hugging Face accelerate: several losses where `accelerator.backward` takes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mtlgrad.balancer import Balancer
from mtlgrad.diagnostics import StepRecord
from mtlgrad.integrations.monitor import divided
from mtlgrad.scalarizers.base import Scalarizer


def backward(accelerator: Any, balancer: Balancer, losses: Mapping[str, Tensor | None]) -> StepRecord | None:
    """What `accelerator.backward(loss)` is for one loss: scaled for float16, divided over accumulated batches.

    Inside `with accelerator.accumulate(model)` the decision falls on the batch whose gradients the optimizer steps
    with; the batches before it return None. Everything else of accelerate is used as always: `prepare`,
    `clip_grad_norm_`, and `register_for_checkpointing(balancer)` for `save_state` and `load_state`.

    Parameters
    ----------
    accelerator:
        An `accelerate.Accelerator`.
    balancer:
        Built with the parameters of the prepared model.
    losses:
        Task name to scalar loss of this batch, undivided; None where the batch lacks the task.

    Raises
    ------
    ValueError, TypeError
        As `Balancer.backward` and `Balancer.accumulate`. A scalarizer that reads the losses must know how many batches
        share an update: for it, an epoch whose number of batches is no multiple of `gradient_accumulation_steps` ends
        in an error.
    """
    k = accelerator.gradient_accumulation_steps
    parts = divided(losses, k) if k > 1 else losses
    if accelerator.sync_gradients:
        return balancer.backward(parts, scale=accelerator.scaler)
    of = k if isinstance(balancer.method, Scalarizer) else None
    balancer.accumulate(parts, of=of, scale=accelerator.scaler)
    return None
