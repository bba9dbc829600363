"""Lightning: a module with several losses, and a callback that watches conflicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mtlgrad.balancer import Balancer
from mtlgrad.integrations.monitor import ConflictMonitor, divided, present_losses, summary

_KEY = "mtlgrad_balancer"


class MultiLossMixin:
    """Makes a LightningModule train on several losses: write `compute_losses` and `configure_balancer`.

    Put it before `LightningModule` among the bases. It is manual optimisation as Lightning has it, with one optimizer:
    `training_step` computes the losses, lets the Balancer fill `.grad`, steps the optimizer and the learning-rate
    schedulers, and logs the record under ``balancer/``. Precision plugins with a gradient scaler are served, and the
    Balancer's state is part of every checkpoint.

    Clip gradients in `on_before_optimizer_step`, as Lightning's documentation has it for manual optimisation; the
    hooks around one loss's backward pass (`on_before_backward`, `on_after_backward`) have no counterpart here.

    Attributes
    ----------
    micro_batches:
        How many batches share one update, an int >= 1. It takes the place of `Trainer(accumulate_grad_batches=)`,
        which Lightning does not allow with manual optimisation. Each batch's losses are divided by it; the last update
        of an epoch may have fewer batches, and divides by their number where the loader has a length.

    Examples
    --------
    >>> import lightning, mtlgrad, torch
    >>> class Net(MultiLossMixin, lightning.LightningModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.trunk, self.a, self.b = (torch.nn.Linear(2, 2) for _ in range(3))
    ...     def compute_losses(self, batch, batch_idx):
    ...         z = self.trunk(batch)
    ...         return {"a": self.a(z).square().mean(), "b": (self.b(z) - 1).square().mean()}
    ...     def configure_balancer(self):
    ...         return mtlgrad.Balancer(mtlgrad.GH(), shared=self.trunk.parameters())
    ...     def configure_optimizers(self):
    ...         return torch.optim.SGD(self.parameters(), lr=0.1)
    """

    micro_batches: int = 1
    _balancer: Balancer | None = None
    _balancer_state: Mapping[str, Any] | None = None

    def compute_losses(self, batch: Any, batch_idx: int) -> Mapping[str, Tensor | None]:
        """The losses of a batch: task name to scalar tensor, or None where the batch lacks the task."""
        raise NotImplementedError(f"{type(self).__name__} must define compute_losses(batch, batch_idx)")

    def configure_balancer(self) -> Balancer:
        """The Balancer, over the parameters of this module; called once, when training starts."""
        raise NotImplementedError(f"{type(self).__name__} must define configure_balancer()")

    @property
    def automatic_optimization(self) -> bool:
        """False: `training_step` steps the optimizer."""
        return False

    @property
    def balancer(self) -> Balancer:
        """The Balancer of this training, with the state of the checkpoint it resumed from."""
        if self._balancer is None:
            self._balancer = self.configure_balancer()
        if self._balancer_state is not None:
            self._balancer.load_state_dict(dict(self._balancer_state))
            self._balancer_state = None
        return self._balancer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One batch; returns the sum of its losses [], for the progress bar."""
        me: Any = self
        trainer = me.trainer
        optimizer = me.optimizers()
        if isinstance(optimizer, list):
            raise ValueError(f"MultiLossMixin steps one optimizer, and configure_optimizers gave {len(optimizer)}")
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        of = self._window(batch_idx)
        losses = self.compute_losses(batch, batch_idx)
        total = torch.stack([loss.detach() for loss in present_losses(losses).values()]).sum()
        parts = divided(losses, of or self.micro_batches)
        if (batch_idx + 1) % self.micro_batches and not trainer.is_last_batch:
            self.balancer.accumulate(parts, of=of, scale=scaler)
            return total
        record = self.balancer.backward(parts, scale=scaler)
        optimizer.step()
        optimizer.zero_grad()
        me.log_dict(summary(record, "balancer/"))
        self._step_schedulers("step", trainer.global_step)
        return total

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()  # type: ignore[misc]  # of LightningModule
        me: Any = self
        self._step_schedulers("epoch", me.trainer.current_epoch + 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)  # type: ignore[misc]
        checkpoint[_KEY] = self.balancer.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)  # type: ignore[misc]
        self._balancer_state = checkpoint.get(_KEY)  # the Balancer may have to wait for its parameters

    def _window(self, batch_idx: int) -> int | None:
        """How many batches share this one's update; None: the loader's length is not known."""
        me: Any = self
        batches: float = me.trainer.num_training_batches
        if self.micro_batches == 1:
            return 1
        if not math.isfinite(batches):
            return None
        return min(self.micro_batches, int(batches) - batch_idx // self.micro_batches * self.micro_batches)

    def _step_schedulers(self, interval: str, count: int) -> None:
        me: Any = self
        for config in me.trainer.lr_scheduler_configs:
            if config.interval == interval and count % config.frequency == 0:
                metric = me.trainer.callback_metrics.get(config.monitor) if config.reduce_on_plateau else None
                if config.reduce_on_plateau and metric is None:
                    continue  # not measured yet
                me.lr_scheduler_step(config.scheduler, metric)


class MonitorCallback(Callback):  # type: ignore[misc]  # Lightning is not type-checked here
    """Shows a `ConflictMonitor` every batch of a training of any kind, and logs what it measures.

    Parameters
    ----------
    monitor:
        Its `losses` is a function of the module and the batch.
    prefix:
        Put before every name in the log.

    Examples
    --------
    >>> def losses(module, batch):
    ...     return module.compute_losses(batch, 0)
    >>> callback = MonitorCallback(ConflictMonitor(losses, shared=lambda module: module.trunk.parameters(), every=50))
    """

    def __init__(self, monitor: ConflictMonitor, *, prefix: str = "conflict/") -> None:
        self.monitor = monitor
        self.prefix = prefix

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        with trainer.precision_plugin.forward_context():
            record = self.monitor.observe(pl_module, batch)
        if record is not None:
            pl_module.log_dict(summary(record, self.prefix))

    def state_dict(self) -> dict[str, Any]:
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.monitor.load_state_dict(state_dict)
