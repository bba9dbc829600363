"""PCD: priority-constrained descent (Varam et al., TMLR 2026), for a main task and those that must not be forgotten."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import StatefulGramAggregator
from mtlgrad.aggregators.host import Array
from mtlgrad.hyperparameters import check_integer, check_number, vector_of
from mtlgrad.method import State, Traits
from mtlgrad.solvers.priority import priority_weights
from mtlgrad.solvers.scaling import RESOLUTION
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class PCD(StatefulGramAggregator):
    r"""Follows the main task's gradient, bent as little as lets every other task have its share of progress.

    With each gradient divided by a running root mean square of its length, :math:`\tilde g_i = s_i g_i`,

    .. math:: \tilde d = \arg\min_d \tfrac12 \|d - \tilde g_1\|^2 \ \text{s.t.}\
              \tilde g_j^\top d \ge \tau \|\tilde g_j\|^2 \ (j \ne 1), \qquad
              d = \|g_1\| \frac{\tilde d}{\|\tilde d\|}, \qquad s_i = \frac{1}{\sqrt{\hat v_i + \epsilon}}

    with v the moving average of |g|^2, corrected for its start at 0, and 1 standing for the main task.

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. State: v and the tasks' step counters, [m] each. Solved exactly from
    G. A zero main gradient stops the step, d = 0. Shares that no direction can give to all (`fell_back`) leave d = g_1.

    Parameters
    ----------
    tau:
        The share in [0, 1] of the progress that a step along its own normalised gradient would give a task; one number
        for all, or one per task (the main task's is not read).
    main:
        Index of the main task, from 0; it must have a loss at every step.
    beta:
        Decay of the moving average, in [0, 1).
    eps:
        epsilon >= 0. With it the scales of all gradients matter where their squares come near it.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> PCD(tau=0.0)(J)  # g_1 less its part against g_2, stretched to |g_1|
    tensor([0.7071, 0.7071])

    Related: `AGEM` has the main task constrain the others, this the others the main one; with tau = 0 and as many
    constraints `DualProj` projects the mean, this the main gradient.

    Deviations: the main task may have any index. Near-zero results are told by what rounding leaves of G.

    References
    ----------
    Varam et al., "Not All Objectives Are Born Equal: Priority-Constrained Descent for Hierarchical Multi-Objective
    Optimization", TMLR 2026, arXiv 2606.29521, Algorithm 1.
    """

    per_task = ("tau",)
    of_task = ("main",)

    tau: float | tuple[float, ...] = 0.02
    main: int = 0
    beta: float = 0.999
    eps: float = 1e-8

    search_space = searched(tau=LogUniform(1e-3, 0.5))

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", vector_of("tau", self.tau))
        for one in self.tau if isinstance(self.tau, tuple) else (self.tau,):
            check_number("tau", one, low=0, high=1)
        check_integer("main (the index of a task)", self.main, low=0)
        check_number("beta", self.beta, low=0, high=1)
        if self.beta == 1:
            raise ValueError("beta must be a number in [0, 1), got 1: the moving average would never start")
        check_number("eps", self.eps, low=0)

    @property
    def traits(self) -> Traits:
        m = len(self.tau) if isinstance(self.tau, tuple) else None
        if m is not None and m <= self.main:
            raise ValueError(f"tau must hold one number per task, the main task {self.main} included, got {m}")
        return Traits(
            stateful=True,
            permutation_equivariant=False,
            scale_equivariant=self.eps == 0,
            min_tasks=m or self.main + 1,
            max_tasks=m,
        )

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {
            "squares": torch.zeros(m, dtype=torch.float64, device=device),
            "steps": torch.zeros(m, dtype=torch.int64, device=device),
        }

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        squares = state["squares"].cpu().numpy()
        squares = self.beta * squares + (1 - self.beta) * gram.numpy().diagonal()
        steps = state["steps"] + 1
        unbiased = squares / np.asarray([1 - self.beta**count for count in steps.tolist()])
        weights, _ = self._solve(gram.numpy(), unbiased)
        return torch.from_numpy(weights), {"squares": torch.from_numpy(squares), "steps": steps}

    def _fell_back(self, gram: Tensor) -> Tensor:
        entries = gram.numpy()
        return torch.tensor(not self._solve(entries, entries.diagonal())[1])

    def _solve(self, gram: Array, squares: Array) -> tuple[Array, bool]:
        length = math.sqrt(max(float(gram[self.main, self.main]), 0.0))
        if length == 0.0:
            return np.zeros(len(gram)), True
        scales = np.sqrt(squares + self.eps)
        scales = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0.0)
        scaled = scales[:, None] * gram * scales
        share: Array = np.broadcast_to(np.asarray(self.tau, np.float64), len(gram))
        amounts, met = priority_weights(scaled, self.main, share)
        size = math.sqrt(max(float(amounts @ scaled @ amounts), 0.0))
        if size < RESOLUTION * float(amounts @ np.sqrt(np.maximum(scaled.diagonal(), 0.0))):
            return np.zeros(len(gram)), met
        return amounts * scales * (length / size), met
