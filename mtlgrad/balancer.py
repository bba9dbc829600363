"""The training-loop entry: losses in, `.grad` out. The only place with mutable state."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from mtlgrad.aggregators.base import GradientAggregator, GramAggregator, JacobianAggregator
from mtlgrad.arguments import (
    Groups,
    Scale,
    check_choices,
    check_losses,
    check_states,
    features_of,
    grouped,
    parameters,
    scale_factor,
    task_names,
)
from mtlgrad.backpropagation import Losses, Window, backward, placed, scaled, task_gradients, weigh, weighted
from mtlgrad.decision import Decision, decide, merge, outcome, plain_sum, select_state
from mtlgrad.diagnostics import StepRecord
from mtlgrad.gradients import TaskGradients
from mtlgrad.method import Method, State, check_integer
from mtlgrad.scalarizers.base import Scalarizer


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
        The parameters that the tasks have in common, on one device. Duplicates (tied weights) count once.
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
    >>> balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=trunk.parameters())
    >>> h = trunk(torch.randn(8, 3))
    >>> step = balancer.backward({"alignment": a(h).square().mean(), "classification": (b(h) - 1).square().mean()})
    >>> step.tasks, tuple(step.weights.shape), trunk.weight.grad is not None
    (('alignment', 'classification'), (2,), True)
    """

    def __init__(
        self,
        method: Method,
        shared: Iterable[Tensor],
        *,
        private: Iterable[Tensor] | None = None,
        tasks: Sequence[str] | None = None,
        apply: Literal["shared", "loss"] = "shared",
        groups: Groups | None = None,
        seed: int = 0,
        diagnose_every: int = 0,
    ) -> None:
        check_choices(method, apply, groups, seed, diagnose_every)
        self.method = method
        self.apply = apply
        self.diagnose_every = diagnose_every
        self._shared = parameters("shared", shared, real=True)
        if not self._shared:
            raise ValueError("shared must hold at least one parameter, got none")
        devices = sorted({str(p.device) for p in self._shared})
        if len(devices) > 1:
            raise ValueError(f"shared parameters must be on one device, got {', '.join(devices)}")
        self._group_names, self._group_sizes, self._shared = grouped(groups, self._shared)
        self._private = None if private is None else parameters("private", private)
        self._tasks: tuple[str, ...] | None = None if tasks is None else task_names("tasks", tasks)
        if self._tasks is not None:
            method.check_tasks(len(self._tasks))
        self._seed = seed
        self._place: torch.device | None = None  # where the generator draws
        self._generator = torch.Generator()
        self._states: list[State] | None = None
        self._gradients: TaskGradients | None = None
        self._steps = 0
        self._window: Window | None = None

    # ------------------------------------------------------------------ public

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
            now = self._given(losses, scale)
            if self._window is not None and self._window.of not in (None, self._window.count + 1):
                raise ValueError(
                    f"of={self._window.of} announced that many micro-batches, and this backward() ends a window of "
                    f"{self._window.count + 1}"
                )
            record = self._step(now, self._representations(features), retain_graph)
        except BaseException:
            self._tasks = tasks
            raise
        finally:
            self._window = None
        self._steps += 1
        return record

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
            now = self._given(losses, scale)
            self._check_window(of)
            opened = self._window
            weights, draws = (None, None) if opened is None else (opened.weights, opened.draws)
            if not isinstance(self.method, Scalarizer):
                self._collect(now, retain_graph=False)
            else:
                if weights is None:
                    draws = self._source().clone_state()
                    whole, state = now.values * (of or 1), self._scalarizer_state(self.method, now.values)
                    weights, _ = weigh(self.method, whole, state, self._source())
                backward(weighted(weights, now.graph), retain_graph=False, inputs=self._inputs())
            count = 1 if opened is None else opened.count + 1
            self._window = Window(now.values, count, of, scale, weights, draws)
        except BaseException:
            self._tasks, self._window = tasks, None
            raise

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
        missing = {"method", "layout", "tasks", "states", "generator", "steps"} - set(state)
        if missing:
            raise ValueError(f"state lacks {', '.join(sorted(missing))}: not the state_dict of a Balancer")
        if state["method"] != self.method.name:
            raise ValueError(f"state is of method {state['method']}, this Balancer's is {self.method.name}")
        layout = (self.apply, self._group_names)
        if tuple(state["layout"]) != layout:
            raise ValueError(f"state is of (apply, groups) {tuple(state['layout'])}, this Balancer's are {layout}")
        tasks = self._tasks if state["tasks"] is None else tuple(state["tasks"])
        if self._tasks is not None and tasks != self._tasks:
            raise ValueError(f"state is of tasks {tasks}, this Balancer's are {self._tasks}")
        if state["states"] is not None:
            check_states(state["states"], self._blank_states(len(tasks or ())))
        draws, own = state["generator"].cpu(), self._source().get_state()
        same_kind = draws.shape == own.shape
        if self.method.traits.stochastic and not same_kind:
            raise ValueError(
                f"state's generator holds {len(draws)} bytes and this Balancer's, on {self._place}, {len(own)}: "
                f"{self.method.name} went on drawing on another kind of device"
            )
        self._tasks = tasks
        self._states = copy.deepcopy(state["states"])
        if same_kind:
            self._source().set_state(draws)
        self._steps = state["steps"]
        self._window = None

    # ---------------------------------------------------------------- what is given

    def _given(self, losses: Mapping[str, Tensor], scale: Scale | None) -> Losses:
        """The losses in task order, once names, values and scale are known to be right."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise RuntimeError(
                f"Balancer works in one process, and this is one of {dist.get_world_size()}: each rank would decide "
                "from its own gradients, and the ranks would drift apart"
            )
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
        return Losses(graph if factor is None else [factor * loss for loss in graph], values, factor)

    def _representations(self, features: Tensor | Sequence[Tensor] | None) -> list[Tensor] | None:
        """The features as a list, once they are known to be right; None: there are none."""
        traits = self.method.traits
        if features is None:
            if traits.needs_features:
                raise ValueError(
                    f"{self.method.name} works at the shared representation z: call backward(..., features=z)"
                )
            return None
        found = features_of(features)
        if traits.stateful and isinstance(self.method, JacobianAggregator):
            raise ValueError(
                f"{self.method.name} averages gradients over steps, and those at features= belong to one batch"
            )
        if traits.needs_features and len(found) != 1:
            raise ValueError(f"{self.method.name} works at one representation, got {len(found)} features")
        if self._window is not None or self._group_names:
            what = "groups=" if self._group_names else "accumulate()"
            raise ValueError(f"features= takes one decision on one batch's representation: not with {what}")
        return found

    def _check_window(self, of: int | None) -> None:
        """Whether this method can take a further micro-batch, in a window of `of`."""
        if of is not None:
            check_integer("of", of, low=1)
        if self._window is not None and of != self._window.of:
            raise ValueError(f"of must be the same throughout a window, got {of} after {self._window.of}")
        traits = self.method.traits
        if of is None and traits.needs_losses and isinstance(self.method, Scalarizer):
            raise ValueError(
                f"{self.method.name} fixes its weights at the first micro-batch and must know how much of the losses "
                "that is: call accumulate(losses, of=k), k the number of micro-batches, that of backward() included"
            )
        if traits.needs_features:
            raise ValueError(f"{self.method.name} decides at one batch's representation: not with accumulate()")
        if self.apply == "loss" and not isinstance(self.method, Scalarizer):
            raise ValueError(
                "apply='loss' back-propagates the weighted losses once the weights are known, and by then the graphs "
                "of earlier micro-batches are gone: use apply='shared' with accumulate()"
            )

    # ------------------------------------------------------- gradients of tasks

    def _collect(self, now: Losses, *, retain_graph: bool) -> TaskGradients:
        """One backward pass a task: rows of J for the shared parameters, `.grad` for the private ones."""
        found = self._buffer(len(now.graph), wide=now.scale is not None)
        # With apply="loss" the private parameters wait for the weighted pass.
        inputs = [p for p in self._shared if p.requires_grad] if self.apply == "loss" else self._inputs()
        # The rows of J are read off `.grad`, for `Tensor.backward` supports more than `autograd.grad` does: reentrant
        # checkpointing, gradient hooks, parameters that nobody listed. What was there is set aside meanwhile.
        kept = [p.grad for p in self._shared]
        try:
            for task, loss in enumerate(now.graph):
                for p in self._shared:
                    p.grad = None
                if inputs != []:  # a frozen trunk has zero gradients
                    backward(loss, retain_graph=retain_graph or task < len(now.graph) - 1, inputs=inputs)
                found.add(task, [p.grad for p in self._shared], divisor=now.scale)
        finally:
            for p, old in zip(self._shared, kept, strict=True):
                p.grad = old
        return found

    def _buffer(self, m: int, *, wide: bool) -> TaskGradients:
        """Where J goes: zeros, or inside a window the rows so far."""
        if self._gradients is not None and self._gradients.fits(self._shared, m, wide=wide):
            if self._window is None:
                self._gradients.zero()
            return self._gradients
        if self._window is not None:
            raise ValueError("shared parameters changed their dtype or device inside a window of micro-batches")
        self._gradients = None  # the old one makes room
        self._gradients = TaskGradients(self._shared, m, blocks=self._group_sizes, wide=wide)
        return self._gradients

    def _inputs(self) -> list[Tensor] | None:
        """What a backward pass may touch; None: everything."""
        if self._private is None:
            return None
        return [p for p in [*self._shared, *self._private] if p.requires_grad]

    # ------------------------------------------------------------- the ways on

    def _step(self, now: Losses, features: list[Tensor] | None, retain_graph: bool) -> StepRecord:
        """The way that costs least for this method at this step."""
        if isinstance(self.method, Scalarizer):
            return self._backward_scalarized(self.method, now, retain_graph)
        settled = self._foreseen()
        if settled is None:
            self.method.check_values(now.values)
        elif self.apply == "loss" and not self._due():
            return self._backward_settled(*settled, now, retain_graph)
        if features is not None:
            record = self._backward_at(now, features, retain_graph)
        else:
            record = self._backward_through(now, retain_graph)
        return record if settled is None else dataclasses.replace(record, settled=True)

    def _backward_through(self, now: Losses, retain_graph: bool) -> StepRecord:
        """From J over the shared parameters to their `.grad`."""
        gradients = self._collect(now, retain_graph=retain_graph or self.apply == "loss")
        decision = self._ask(gradients.block_matrices(), now.values)
        if self.apply == "loss":
            self._backward_weighted(decision, now, retain_graph)
        else:
            for p, piece in zip(self._shared, gradients.split(scaled(decision.direction, now)), strict=True):
                old = p.grad
                if old is None:
                    p.grad = piece
                elif piece is not None:
                    p.grad = piece + old if old.is_sparse else old.add_(piece)
        return self._record(now, decision)

    def _backward_at(self, now: Losses, features: list[Tensor], retain_graph: bool) -> StepRecord:
        """The decision at the representation: m passes through the heads, one through everything."""
        gradients = task_gradients(now, features)
        if gradients.untouched:
            raise ValueError(
                f"features[{gradients.untouched[0]}]: no loss depends on it; pass the very tensor that the heads are "
                "fed with, not a copy or a view made beside it"
            )
        decision = self._ask([gradients.matrix], now.values, features[0])
        if self.apply == "loss":
            self._backward_weighted(decision, now, retain_graph)
            return self._record(now, decision)
        # The heads take their own tasks' gradients from the plain sum; at z the direction replaces what arrives.
        handles = [
            z.register_hook(lambda _, piece=piece: piece)
            for z, piece in zip(features, gradients.split(scaled(decision.direction, now)), strict=True)
        ]
        try:
            backward(torch.stack(now.graph).sum(), retain_graph=retain_graph, inputs=self._inputs())
        finally:
            for handle in handles:
                handle.remove()
        return self._record(now, decision)

    def _backward_weighted(self, decision: Decision, now: Losses, retain_graph: bool) -> None:
        assert decision.weights is not None
        backward(weighted(decision.weights, now.graph), retain_graph=retain_graph, inputs=self._inputs())

    def _backward_weights(self, weights: Tensor, now: Losses, retain_graph: bool) -> Tensor:
        """One pass with weights that were settled without gradients; whether losses and shared gradients are finite."""
        backward(weighted(weights, now.graph), retain_graph=retain_graph, inputs=self._inputs())
        gradients = [p.grad for p in self._shared if p.grad is not None]
        finite = [(g._values() if g.is_sparse else g).isfinite().all() for g in gradients]
        return torch.stack([now.values.isfinite().all().to(self._shared[0].device), *finite]).all()

    def _foreseen(self) -> tuple[Tensor, State] | None:
        """The weights that need no gradient this step, with the state after it; None: the method is to be asked."""
        if self._states is None or not isinstance(self.method, GramAggregator):
            return None
        return self.method.foreseen(self._states[0])

    def _backward_settled(self, settled: Tensor, new: State, now: Losses, retain_graph: bool) -> StepRecord:
        """One backward pass, of the losses weighted as was settled before."""
        assert self._states is not None
        weights = torch.where(now.values.isfinite().all(), settled.to(now.values.device), 1)
        finite = self._backward_weights(weights, now, retain_graph)
        self._states = [select_state(finite.to(settled.device), new, self._states[0])]
        return StepRecord(self._tasks or (), now.values, finite, weights=weights, method=self.method, settled=True)

    def _backward_scalarized(self, method: Scalarizer, now: Losses, retain_graph: bool) -> StepRecord:
        """One backward pass of the weighted losses; at the end of a window its state moves by the losses of all."""
        old = self._scalarizer_state(method, now.values)
        if self._window is None:
            weights, new = weigh(method, now.values, old, self._source())
        else:
            # The same draws once more: the step that the large batch would have taken, but for its weights.
            assert self._window.weights is not None
            weights, (_, new) = self._window.weights, weigh(method, now.values, old, self._window.draws)
        gram = alignment = norm = None
        trainable = [p for p in self._shared if p.requires_grad]
        if self._due() and trainable:
            gram = task_gradients(now, trainable).gram()
            alignment, norm = outcome(gram, weights.to(gram))
        finite = self._backward_weights(weights, now, retain_graph)
        self._states = [select_state(finite, new, old)]
        return StepRecord(self._tasks or (), now.values, finite, gram, weights, alignment, norm, method=method)

    def _scalarizer_state(self, method: Scalarizer, values: Tensor) -> State:
        if self._states is None:
            return method.init(len(values), device=values.device)
        return placed(self._states[0], values.device)

    # -------------------------------------------------------------- bookkeeping

    def _ask(self, blocks: list[Tensor], values: Tensor, features: Tensor | None = None) -> Decision:
        """The method's decision on each column block, with the state that belongs to it."""
        assert isinstance(self.method, GradientAggregator)
        if self._states is None:
            states = [
                self.method.init_like(block)
                if isinstance(self.method, JacobianAggregator)
                else self.method.init(block.shape[0])
                for block in blocks
            ]
        else:
            states = self._states
        states = [placed(state, self._state_device(blocks[0])) for state in states]
        decisions = [
            decide(self.method, block, values, state, self._source(), features)
            for block, state in zip(blocks, states, strict=True)
        ]
        if len(decisions) > 1 and not all(bool(decision.finite) for decision in decisions):
            decisions = [plain_sum(*three) for three in zip(decisions, blocks, states, strict=True)]
        self._states = [decision.state for decision in decisions]
        return merge(decisions) if self._group_names else decisions[0]

    def _state_device(self, block: Tensor) -> torch.device:
        """Where the method's state lives: with what the method is fed."""
        solves = isinstance(self.method, GramAggregator)
        if solves and not (self.method.traits.closed_form_pair and len(block) == 2):
            return torch.device("cpu")
        return block.device

    def _blank_states(self, m: int) -> list[State]:
        """States as they are at first, for their names and shapes; those that are as long as J weigh nothing."""
        if not isinstance(self.method, JacobianAggregator):
            return [self.method.init(m) for _ in self._group_names or ("all",)]
        sizes = [p.numel() for p in self._shared]
        widths, first = [], 0
        for count in self._group_sizes or [len(sizes)]:
            widths.append(sum(sizes[first : first + count]))
            first += count
        return [self.method.init_like(torch.empty(m, width, device="meta")) for width in widths]

    def _source(self) -> torch.Generator:
        """What the method draws from: on the host, m numbers at most, or for Jacobian methods where J is."""
        jacobian = isinstance(self.method, JacobianAggregator)
        place = self._shared[0].device if jacobian else torch.device("cpu")
        if place != self._place:  # the first call, or the model has moved: its old draws mean nothing elsewhere
            self._place, self._generator = place, torch.Generator(place).manual_seed(self._seed)
        return self._generator

    def _record(self, now: Losses, decision: Decision) -> StepRecord:
        return StepRecord(
            tasks=self._tasks or (),
            losses=now.values,
            finite=decision.finite,
            gram=decision.gram,
            weights=decision.weights,
            alignment=decision.alignment,
            direction_norm=decision.direction_norm,
            groups=self._group_names,
            method=self.method,
        )

    def _due(self) -> bool:
        """Whether this step measures the Gramian though it need not (a window's earlier graphs are gone)."""
        if self.diagnose_every == 0 or self._window is not None:
            return False
        return self._steps % self.diagnose_every == 0
