"""The training-loop entry: losses in, `.grad` out. The only place with mutable state."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.arguments import (
    Groups,
    Scale,
    check_choices,
    check_end,
    check_losses,
    check_window,
    grouped,
    parameters,
    representations,
    scale_factor,
    shared_parameters,
    task_names,
)
from mtlgrad.diagnostics import StepRecord
from mtlgrad.engines import ENGINES, Call, Choice, Window, choose
from mtlgrad.engines.processes import surrounding
from mtlgrad.engines.records import record
from mtlgrad.method import Method, State
from mtlgrad.states import blank_states, check_draws, check_saved, check_states


class Balancer:
    """Decides the update of the shared parameters from several losses, by any method of the zoo.

    Gradients *accumulate* into `.grad`, as `Tensor.backward` has it: zero them between steps.

    With a `torch.amp.GradScaler`, give the losses as they are and `backward(losses, scale=scaler)`; `scaler.step` and
    `scaler.update` follow as usual. Losses that were scaled beforehand are right only for a method whose traits say
    `scale_equivariant` and not `needs_losses`: any other decides differently, and once the scaler has divided by its
    scale the update has the wrong size.

    Parameters
    ----------
    method:
        A `Scalarizer` (one backward pass a step) or a `GradientAggregator` (m passes).
    shared:
        What the tasks have in common, on one device: modules, parameters, or a mix. Duplicates (tied weights) count
        once.
    private:
        Which other parameters may get a gradient. None: every leaf the losses reach, as in plain torch.
    tasks:
        Task names in order. None: those of the first call. Order matters to some methods (`GHPlusPlus`).
    apply:
        "shared": shared parameters get the direction, every private parameter the unweighted gradient of its own
        task. "loss": the weights multiply whole losses, private parameters included (Gradient Harmonization,
        Eq. 44), for one more backward pass. A scalarizer weights whole losses by definition, either way.
    groups:
        None: one decision for all shared parameters. "tensor": one per parameter tensor. A mapping of names to
        parameters: one per group; together the groups must hold exactly the shared parameters.
    memory:
        "fast": the way with the fewest backward passes whose extra memory is there. "lean": the one with the least
        memory, where weights suffice at most m times the longest shared parameter, for more passes.
    seed:
        Seeds the generator that stochastic methods draw from, an int.
    diagnose_every:
        Measure the Gramian on every k-th step even where the method needs none (a scalarizer, weights that are
        held), so that the record shows conflicts; 0: never.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the value and what is allowed.

    Examples
    --------
    >>> import mtlgrad
    >>> trunk, a, b = (torch.nn.Linear(3, 3) for _ in range(3))
    >>> balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=trunk)
    >>> h = trunk(torch.randn(8, 3))
    >>> step = balancer.backward({"alignment": a(h).square().mean(), "classification": (b(h) - 1).square().mean()})
    >>> step.tasks, tuple(step.weights.shape), trunk.weight.grad is not None
    (('alignment', 'classification'), (2,), True)
    """

    def __init__(
        self,
        method: Method,
        shared: nn.Module | Iterable[nn.Module | Tensor],
        *,
        private: Iterable[Tensor] | None = None,
        tasks: Sequence[str] | None = None,
        apply: Literal["shared", "loss"] = "shared",
        groups: Groups | None = None,
        memory: Literal["fast", "lean"] = "fast",
        seed: int = 0,
        diagnose_every: int = 0,
    ) -> None:
        check_choices(method, apply, groups, memory, seed, diagnose_every)
        self.method = method
        self.apply = apply
        self.memory = memory
        self.diagnose_every = diagnose_every
        self._modules, given = shared_parameters(shared)
        self._group_names, self._group_sizes, self._shared = grouped(groups, given)
        self._private = None if private is None else parameters("private", private)
        self._tasks: tuple[str, ...] | None = None if tasks is None else task_names("tasks", tasks)
        if self._tasks is not None:
            method.check_tasks(len(self._tasks))
        self._seed = seed
        self._place: torch.device | None = None  # where the generator draws
        self._generator = torch.Generator()
        self._states: list[State] | None = None
        self._steps = 0
        self._window: Window | None = None
        self._engines = [kind() for kind in ENGINES]
        self._engine: Choice | None = None

    def backward(
        self,
        losses: Mapping[str, Tensor],
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        retain_graph: bool = False,
        scale: Scale | None = None,
    ) -> StepRecord:
        """Compute the update and add it to the `.grad` of the shared parameters, and the private ones' gradients.

        Parameters
        ----------
        losses:
            Task name to scalar loss; the same names at every call.
        features:
            The shared representation(s) z through which every loss depends on the shared parameters. The decision is
            then made on the gradients at z (MGDA-UB, Sener & Koltun 2018, Sec. 3.3), and one pass goes through the
            trunk, for any m. A scalarizer needs no gradients and pays no heed.
        retain_graph:
            Keep the graph for a further backward pass.
        scale:
            A number > 0 or a `torch.amp.GradScaler`: the losses, given without it, are multiplied by it before they
            are back-propagated, so that half-precision gradients do not underflow. The method and the record see
            losses and gradients without it; every `.grad` holds it, as `scaler.step` and `scaler.unscale_` expect.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, the value and what is allowed; nothing has changed then. Whatever is raised, here or
            by `accumulate`, an open window of micro-batches is dropped: zero the gradients and start it again.

        Examples
        --------
        >>> import mtlgrad
        >>> w = torch.ones(2, requires_grad=True)
        >>> optimizer, scaler = torch.optim.SGD([w], lr=0.1), torch.amp.GradScaler("cpu")
        >>> balancer = mtlgrad.Balancer(mtlgrad.NashMTL(), shared=[w])
        >>> step = balancer.backward({"a": w[0] ** 2, "b": 3 * w[1]}, scale=scaler)
        >>> scaler.step(optimizer); scaler.update()
        >>> w
        tensor([0.9000, 0.9000], requires_grad=True)
        """
        tasks = self._tasks
        try:
            if self._window is not None:
                check_end(self._window.of, self._window.count + 1)
            call = self._call(losses, scale, features=features, retain_graph=retain_graph)
            engine, self._engine = choose(call, self._engines)
            outcome = engine.run(call)
            self._states = list(outcome.states)
        except BaseException:
            self._tasks = tasks
            raise
        finally:
            self._window = None
        self._steps += 1
        return record(call, outcome, self._tasks or (), self._group_names)

    def accumulate(self, losses: Mapping[str, Tensor], *, of: int | None = None, scale: Scale | None = None) -> None:
        """Add a micro-batch: its gradients join J, and the decision waits for the `backward` of the last one.

        The Gramian of summed gradients is not the sum of Gramians, hence this call: k micro-batches are k - 1 calls
        of `accumulate` and one of `backward`, each with its losses divided by k. A method that reads gradients then
        gives exactly the update of the large batch. A scalarizer back-propagates each micro-batch as it comes: its
        weights are those of the first one's losses times k, and its state moves once, by the losses of all of them.

        Parameters
        ----------
        losses, scale:
            As in `backward`; the scale must be the same throughout a window.
        of:
            k, the number of micro-batches, that of `backward` included; the same at every call. A scalarizer that reads
            the losses needs it. None: not known, and not checked.

        Raises
        ------
        TypeError, ValueError
            As in `backward`.
        """
        tasks = self._tasks
        try:
            check_window(self.method, self.apply, of, "none" if self._window is None else self._window.of)
            call = self._call(losses, scale, of=of, ends=False)
            engine, self._engine = choose(call, self._engines)
            count = 1 if self._window is None else self._window.count + 1
            self._window = Window(call.values, count, of, scale, engine, engine.collect(call))
        except BaseException:
            self._tasks, self._window = tasks, None
            raise

    @property
    def engine(self) -> Choice | None:
        """How the last call got from losses to `.grad`, and why not otherwise; None: there was no call yet."""
        return self._engine

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs; taken between steps, not inside a window of micro-batches."""
        if self._window is not None:
            raise ValueError("state_dict() inside a window of micro-batches: call backward() to end it first")
        return {
            "method": self.method.name,
            "layout": (self.apply, self._group_names),
            "tasks": self._tasks,
            "states": self._states,
            "generator": self._source().get_state(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`, on a Balancer built with the same arguments, fresh or not.

        Raises
        ------
        ValueError
            Naming what differs: the method, `apply`, the groups, the tasks, the shape of the shared parameters, or for
            a stochastic method the kind of device; nothing has changed then.
        """
        own = {"method": self.method.name, "layout": (self.apply, self._group_names), "tasks": self._tasks}
        tasks = check_saved(state, own)
        if state["states"] is not None:
            check_states(state["states"], blank_states(self.method, len(tasks or ()), self._widths()))
        same_kind = check_draws(self.method, state["generator"], self._source())
        self._tasks = tasks
        self._states = copy.deepcopy(state["states"])
        if same_kind:
            self._source().set_state(state["generator"].cpu())
        self._steps = state["steps"]
        self._window = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the engines, whose buffers are worth nothing to a copy."""
        return {name: value for name, value in self.__dict__.items() if name != "_engines"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _engines=[kind() for kind in ENGINES])

    # -------------------------------------------------------------------- private

    def _call(
        self,
        losses: Mapping[str, Tensor],
        scale: Scale | None,
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        retain_graph: bool = False,
        of: int | None = None,
        ends: bool = True,
    ) -> Call:
        """What is asked for, with losses in task order, once names, values and scale are known to be right."""
        processes = surrounding()
        names = check_losses(losses, self._tasks)
        self.method.check_tasks(len(names))
        self._tasks = self._tasks or names
        graph = [losses[name].reshape(()) for name in self._tasks]
        values = torch.stack([loss.detach() for loss in graph])
        factor = scale_factor(scale, graph[0])
        if self._window is not None:
            if scale != self._window.scale:
                raise ValueError(
                    "scale must be the same for all micro-batches of a window, "
                    f"got {scale!r} after {self._window.scale!r}"
                )
            values = self._window.values + values
        return Call(
            method=self.method,
            losses=graph if factor is None else [factor * loss for loss in graph],
            values=values,
            scale=factor,
            shared=self._shared,
            modules=self._modules,
            private=self._private,
            apply=self.apply,
            memory=self.memory,
            groups=self._group_sizes,
            features=representations(self.method, features, self._window is not None, bool(self._group_names)),
            states=self._states,
            draws=self._source(),
            window=self._window,
            of=of,
            ends=ends,
            diagnose=self._due(),
            retain_graph=retain_graph,
            processes=processes,
        )

    def _widths(self) -> list[int]:
        """How many columns of J each group has."""
        sizes = iter([p.numel() for p in self._shared])
        counts = [len(self._shared)] if self._group_sizes is None else self._group_sizes
        return [sum(next(sizes) for _ in range(count)) for count in counts]

    def _source(self) -> torch.Generator:
        """What the method draws from: on the host, m numbers at most, or for Jacobian methods where J is."""
        jacobian = isinstance(self.method, JacobianAggregator)
        place = self._shared[0].device if jacobian else torch.device("cpu")
        if place != self._place:  # the first call, or the model has moved: its old draws mean nothing elsewhere
            self._place, self._generator = place, torch.Generator(place).manual_seed(self._seed)
        return self._generator

    def _due(self) -> bool:
        """Whether this step measures the Gramian though it need not (a window's earlier graphs are gone)."""
        if self.diagnose_every == 0 or self._window is not None:
            return False
        return self._steps % self.diagnose_every == 0
