"""Hugging Face transformers: a Trainer whose model, or a function, gives several losses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtlgrad.balancer import Balancer
from mtlgrad.diagnostics import StepRecord
from mtlgrad.integrations.monitor import ConflictMonitor, divided, present_losses, summary

STATE_FILE = "balancer.pt"
"""The Balancer's state inside a checkpoint's folder."""

ComputeLosses = Callable[[nn.Module, dict[str, Any]], tuple[Mapping[str, Tensor | None], Any]]


class MultiLossMixin:
    """Makes a Trainer train on several losses: ``class MyTrainer(MultiLossMixin, Trainer)``.

    Accumulated batches, float16 and bfloat16, gradient clipping, evaluation and checkpoints work as in `Trainer`. The
    log has the mean of each loss beside their sum, and what the Balancer decided. A resumed training has the
    Balancer's state of the checkpoint.

    Parameters
    ----------
    balancer:
        A `Balancer` over parameters of the model; or a function from the model to one, called at the first step, for
        models whose parameters are made or replaced by `Trainer`.
    compute_losses:
        A function of the model and its inputs, labels included, that returns a mapping of task names to scalar
        losses, None where the batch lacks the task, and the model's outputs. None: the model itself returns the
        mapping, as ``outputs["losses"]``.
    arguments:
        As for `Trainer`.

    Raises
    ------
    TypeError, ValueError
        Where `balancer` is neither, or the model gives no losses.
    """

    def __init__(
        self,
        *arguments: Any,
        balancer: Balancer | Callable[[nn.Module], Balancer],
        compute_losses: ComputeLosses | None = None,
        **named: Any,
    ) -> None:
        if not isinstance(balancer, Balancer) and not callable(balancer):
            raise TypeError(
                f"balancer must be a mtlgrad.Balancer or a function from the model to one, got {balancer!r}"
            )
        self._balancer = balancer
        self._compute_losses = compute_losses
        self._sums: dict[str, Tensor] = {}
        self._summed: dict[str, int] = {}  # a name may be missing from some records, as an absent task's is
        super().__init__(*arguments, **named)

    @property
    def balancer(self) -> Balancer:
        """The Balancer of this training."""
        if not isinstance(self._balancer, Balancer):
            me: Any = self
            self._balancer = self._balancer(me.model)
        return self._balancer

    def losses_of(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Mapping[str, Tensor | None], Any]:
        """The losses of `inputs` by name, and the model's outputs."""
        if self._compute_losses is not None:
            return self._compute_losses(model, inputs)
        outputs = model(**inputs)
        losses = outputs.get("losses") if isinstance(outputs, Mapping) else None
        if not isinstance(losses, Mapping):
            given = list(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise ValueError(
                f"{type(model).__name__} must return a mapping with 'losses', a mapping of task names to scalar "
                f"losses, got {given}; or give the Trainer compute_losses="
            )
        return losses, type(outputs)({name: value for name, value in outputs.items() if name != "losses"})

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The plain sum of the losses [], which evaluation reports."""
        losses, outputs = self.losses_of(model, inputs)
        total = torch.stack(list(present_losses(losses).values())).sum()
        return (total, outputs) if return_outputs else total

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One batch of an update: a micro-batch for the Balancer, or the last one, on which it decides."""
        me: Any = self
        model.train()
        if callable(getattr(me.optimizer, "train", None)):  # schedule-free optimizers have two modes as well
            me.optimizer.train()
        inputs = me._prepare_inputs(inputs)
        k = me.current_gradient_accumulation_steps
        scaler = me.accelerator.scaler
        with me.compute_loss_context_manager():
            losses, _ = self.losses_of(model, inputs)
        parts = divided(losses, k)
        if me.accelerator.sync_gradients:
            self._remember(self.balancer.backward(parts, scale=scaler))
        else:
            self.balancer.accumulate(parts, of=k, scale=scaler)
        return torch.stack([loss.detach() for loss in present_losses(parts).values()]).sum()

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        """Trainer's log; where it reports a training loss, with each name's mean over the records that hold it."""
        if "loss" in logs and self._summed:
            logs |= {name: value.item() / self._summed[name] for name, value in self._sums.items()}
            self._sums, self._summed = {}, {}
        super().log(logs, *arguments, **named)  # type: ignore[misc]  # of Trainer

    def _remember(self, record: StepRecord) -> None:
        for name, value in summary(record).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._summed[name] = self._summed.get(name, 0) + 1

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
        me: Any = self
        if me.args.should_save:
            torch.save(self.balancer.state_dict(), os.path.join(output_dir, STATE_FILE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is None:
            return
        path = os.path.join(checkpoint, STATE_FILE)
        if not os.path.isfile(path):
            raise ValueError(f"checkpoint {checkpoint!r} has no {STATE_FILE}: it was not written by a MultiLossMixin")
        self.balancer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))


class MonitorMixin:
    """Shows a `ConflictMonitor` each update of a Trainer of any kind: ``class MyTrainer(MonitorMixin, Trainer)``.

    It sees the first of the batches that share the update. Its measurements are entries of their own in the log, under
    ``conflict/``.

    Parameters
    ----------
    monitor:
        Its `losses` is a function of the model and the inputs, a dict with the labels.
    arguments:
        As for `Trainer`.
    """

    def __init__(self, *arguments: Any, monitor: ConflictMonitor, **named: Any) -> None:
        if not isinstance(monitor, ConflictMonitor):
            raise TypeError(f"monitor must be a ConflictMonitor, got {monitor!r}")
        self.monitor = monitor
        self._seen = -1
        super().__init__(*arguments, **named)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        me: Any = self
        if me.state.global_step != self._seen:
            self._seen = self.monitor.steps = me.state.global_step  # a resumed training measures the same steps
            model.train()
            with me.compute_loss_context_manager():
                record = self.monitor.observe(model, me._prepare_inputs(inputs))
            if record is not None:
                with _log_untouched(me.control):
                    me.log({name: value.item() for name, value in summary(record, "conflict/").items()})
        step: Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        return step


@contextmanager
def _log_untouched(control: Any) -> Iterator[None]:
    """`Trainer.log` says that what was due to be logged has been; here it has not."""
    due = control.should_log
    try:
        yield
    finally:
        control.should_log = due
