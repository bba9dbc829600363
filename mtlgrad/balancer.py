"""The training-loop entry: losses in, `.grad` out. The only place with mutable state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from mtlgrad.aggregators.base import GradientAggregator, GramAggregator, JacobianAggregator
from mtlgrad.arguments import Groups, check_choices, check_losses, features_of, grouped, parameters, task_names
from mtlgrad.decision import Decision, decide, merge, outcome, plain_sum, select_state
from mtlgrad.diagnostics import StepRecord
from mtlgrad.gradients import TaskGradients
from mtlgrad.method import Method, State
from mtlgrad.scalarizers.base import Scalarizer


class Balancer:
    """Decides the update of the shared parameters from several losses, by any method of the zoo.

    Gradients *accumulate* into `.grad`, as `Tensor.backward` has it: zero them between steps.

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
        self._shared = parameters("shared", shared)
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
        # Jacobian methods draw where the gradients are, the others on the host: m numbers at most.
        self._device = self._shared[0].device if isinstance(method, JacobianAggregator) else torch.device("cpu")
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._states: list[State] | None = None
        self._gradients: TaskGradients | None = None
        self._steps = 0
        self._window_losses: Tensor | None = None  # of the micro-batches so far; None: no window is open
        self._window: tuple[Tensor, State] | None = None  # a scalarizer's weights for it, and the state after it

    # ------------------------------------------------------------------ public

    def backward(
        self,
        losses: Mapping[str, Tensor],
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        retain_graph: bool = False,
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

        Raises
        ------
        TypeError, ValueError
            Naming the argument, the value and what is allowed; nothing has changed then.
        """
        ordered = self._ordered(losses)
        if features is None:
            if self.method.traits.needs_features:
                raise ValueError(
                    f"{self.method.name} works at the shared representation z: call backward(..., features=z)"
                )
        else:
            features = features_of(features)
            if self.method.traits.stateful and isinstance(self.method, JacobianAggregator):
                raise ValueError(
                    f"{self.method.name} averages gradients over steps, and those at features= belong to one batch"
                )
            if self.method.traits.needs_features and len(features) != 1:
                raise ValueError(f"{self.method.name} works at one representation, got {len(features)} features")
            if self._window_losses is not None or self._group_names:
                what = "groups=" if self._group_names else "accumulate()"
                raise ValueError(f"features= takes one decision on one batch's representation: not with {what}")
        try:
            if isinstance(self.method, Scalarizer):
                record = self._scalarize(self.method, ordered, retain_graph, last=True)
            elif (settled := self._foreseen()) is not None:
                record = self._backward_settled(*settled, ordered, retain_graph)
            elif features is not None:
                record = self._backward_at(ordered, features, retain_graph)
            else:
                self._collect(ordered, retain_graph=retain_graph or self.apply == "loss")
                record = self._backward_through(ordered, retain_graph)
        finally:
            self._window_losses = self._window = None
        self._steps += 1
        return record

    def accumulate(self, losses: Mapping[str, Tensor]) -> None:
        """Add a micro-batch: its gradients join J, and the decision waits for the `backward` of the last one.

        The Gramian of summed gradients is not the sum of Gramians, hence this call: k micro-batches are k - 1 calls
        of `accumulate` and one of `backward`, each with its losses divided by k, and give exactly the update of the
        large batch. A scalarizer fixes its weights at the first micro-batch.
        """
        ordered = self._ordered(losses)
        if isinstance(self.method, Scalarizer):
            self._scalarize(self.method, ordered, retain_graph=False, last=False)
        elif self.method.traits.needs_features:
            raise ValueError(f"{self.method.name} decides at one batch's representation: not with accumulate()")
        elif self.apply == "loss":
            raise ValueError(
                "apply='loss' back-propagates the weighted losses once the weights are known, and by then the graphs "
                "of earlier micro-batches are gone: use apply='shared' with accumulate()"
            )
        else:
            self._collect(ordered, retain_graph=False)
            self._add_losses(ordered)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs; taken between steps, not inside a window of micro-batches."""
        if self._window_losses is not None:
            raise ValueError("state_dict() inside a window of micro-batches: call backward() to end it first")
        return {
            "method": self.method.name,
            "layout": (self.apply, self._group_names),
            "tasks": self._tasks,
            "states": self._states,
            "generator": self._generator.get_state(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`, on a Balancer built with the same arguments, fresh or not."""
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
        self._tasks = tasks
        place = self._state_device()
        self._states = None if state["states"] is None else [_placed(one, place) for one in state["states"]]
        self._generator.set_state(state["generator"].cpu())
        self._steps = state["steps"]
        self._window_losses = self._window = None

    # ------------------------------------------------------- gradients of tasks

    def _collect(self, losses: list[Tensor], *, retain_graph: bool) -> None:
        """One backward pass a task: rows of J for the shared parameters, `.grad` for the private ones."""
        if self._gradients is None:
            self._gradients = TaskGradients(self._shared, len(losses), blocks=self._group_sizes)
        if self._window_losses is None:
            self._gradients.zero()
        # With apply="loss" the private parameters wait for the weighted pass.
        inputs = [p for p in self._shared if p.requires_grad] if self.apply == "loss" else self._inputs()
        # The rows of J are read off `.grad`, for `Tensor.backward` supports more than `autograd.grad` does: reentrant
        # checkpointing, gradient hooks, parameters that nobody listed. What was there is set aside meanwhile.
        kept = [p.grad for p in self._shared]
        try:
            for task, loss in enumerate(losses):
                for p in self._shared:
                    p.grad = None
                if inputs != []:  # a frozen trunk has zero gradients
                    _backward(loss, retain_graph=retain_graph or task < len(losses) - 1, inputs=inputs)
                self._gradients.add(task, [p.grad for p in self._shared])
        finally:
            for p, old in zip(self._shared, kept, strict=True):
                p.grad = old

    def _inputs(self) -> list[Tensor] | None:
        """What a backward pass may touch; None: everything."""
        if self._private is None:
            return None
        return [p for p in [*self._shared, *self._private] if p.requires_grad]

    # ------------------------------------------------------------ three ways on

    def _backward_through(self, losses: list[Tensor], retain_graph: bool) -> StepRecord:
        """From J over the shared parameters to their `.grad`."""
        assert self._gradients is not None
        values = self._add_losses(losses)
        decision = self._ask(self._gradients.block_matrices(), values)
        if self.apply == "loss":
            self._backward_weighted(decision, losses, retain_graph)
        else:
            for p, piece in zip(self._shared, self._gradients.split(decision.direction), strict=True):
                if piece is not None:
                    p.grad = piece if p.grad is None else p.grad.add_(piece)
        return self._record(values, decision)

    def _backward_at(self, losses: list[Tensor], features: list[Tensor], retain_graph: bool) -> StepRecord:
        """The decision at the representation: m passes through the heads, one through everything."""
        values = self._add_losses(losses)
        gradients = _task_gradients(losses, features)
        decision = self._ask([gradients.matrix], values, features[0])
        if self.apply == "loss":
            self._backward_weighted(decision, losses, retain_graph)
            return self._record(values, decision)
        # The heads take their own tasks' gradients from the plain sum; at z the direction replaces what arrives.
        handles = [
            z.register_hook(lambda _, piece=piece: piece)
            for z, piece in zip(features, gradients.split(decision.direction), strict=True)
            if piece is not None
        ]
        try:
            _backward(torch.stack(losses).sum(), retain_graph=retain_graph, inputs=self._inputs())
        finally:
            for handle in handles:
                handle.remove()
        return self._record(values, decision)

    def _backward_weighted(self, decision: Decision, losses: list[Tensor], retain_graph: bool) -> None:
        assert decision.weights is not None
        _backward(_weighted(decision.weights, losses), retain_graph=retain_graph, inputs=self._inputs())

    def _backward_weights(self, weights: Tensor, losses: list[Tensor], values: Tensor, retain_graph: bool) -> Tensor:
        """One pass with weights that were settled without gradients; whether losses and shared gradients are finite."""
        _backward(_weighted(weights, losses), retain_graph=retain_graph, inputs=self._inputs())
        gradients = [p.grad for p in self._shared if p.grad is not None]
        finite = [gradient.isfinite().all() for gradient in gradients]
        return torch.stack([values.isfinite().all().to(self._shared[0].device), *finite]).all()

    def _foreseen(self) -> tuple[Tensor, State] | None:
        """The weights that need no gradient this step, with the state after it; None: the gradients are due."""
        if self.apply != "loss" or self._states is None or not isinstance(self.method, GramAggregator):
            return None
        return None if self._due() else self.method.foreseen(self._states[0])

    def _backward_settled(self, weights: Tensor, new: State, losses: list[Tensor], retain_graph: bool) -> StepRecord:
        """One backward pass, of the losses weighted as was settled before."""
        assert self._states is not None
        values = self._add_losses(losses)
        weights = torch.where(values.isfinite().all(), weights.to(values.device), 1)
        finite = self._backward_weights(weights, losses, values, retain_graph)
        self._states = [select_state(finite.to(weights.device), new, self._states[0])]
        return StepRecord(self._tasks or (), values, finite, weights=weights, method=self.method)

    def _scalarize(self, method: Scalarizer, losses: list[Tensor], retain_graph: bool, *, last: bool) -> StepRecord:
        """One backward pass of the weighted losses; the state moves with the last micro-batch of a window."""
        diagnose = last and self._due()
        if self._window is None:
            now = torch.stack([loss.detach() for loss in losses])
            if self._states is None:
                self._states = [method.init(len(losses), device=now.device)]
            weights, new = method.step(now, self._states[0], generator=self._generator)
            self._window = torch.where(now.isfinite().all(), weights, 1), new
        weights, new = self._window
        values = self._add_losses(losses)
        gram = alignment = norm = None
        trainable = [p for p in self._shared if p.requires_grad]
        if diagnose and trainable:
            gram = _task_gradients(losses, trainable).gram()
            alignment, norm = outcome(gram, weights.to(gram))
        finite = self._backward_weights(weights, losses, values, retain_graph)
        assert self._states is not None
        if last:
            self._states = [select_state(finite, new, self._states[0])]
        return StepRecord(self._tasks or (), values, finite, gram, weights, alignment, norm, method=method)

    # -------------------------------------------------------------- bookkeeping

    def _ask(self, blocks: list[Tensor], values: Tensor, features: Tensor | None = None) -> Decision:
        """The method's decision on each column block, with the state that belongs to it."""
        assert isinstance(self.method, GradientAggregator)
        if self._states is None:
            self._states = [
                self.method.init_like(block)
                if isinstance(self.method, JacobianAggregator)
                else self.method.init(block.shape[0], device=self._state_device())
                for block in blocks
            ]
        states = self._states
        decisions = [
            decide(self.method, block, values, state, self._generator, features)
            for block, state in zip(blocks, states, strict=True)
        ]
        if len(decisions) > 1 and not all(bool(decision.finite) for decision in decisions):
            decisions = [plain_sum(*three) for three in zip(decisions, blocks, states, strict=True)]
        self._states = [decision.state for decision in decisions]
        return merge(decisions) if self._group_names else decisions[0]

    def _state_device(self) -> torch.device:
        """Where the method's state lives: with what the method is fed."""
        solves = isinstance(self.method, GramAggregator)
        if solves and not (self.method.traits.closed_form_pair and len(self._tasks or ()) == 2):
            return torch.device("cpu")
        return self._shared[0].device

    def _record(self, values: Tensor, decision: Decision) -> StepRecord:
        return StepRecord(
            tasks=self._tasks or (),
            losses=values,
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
        if self.diagnose_every == 0 or self._window_losses is not None:
            return False
        return self._steps % self.diagnose_every == 0

    def _add_losses(self, losses: list[Tensor]) -> Tensor:
        values = torch.stack([loss.detach() for loss in losses])
        self._window_losses = values if self._window_losses is None else self._window_losses + values
        return self._window_losses

    def _ordered(self, losses: Mapping[str, Tensor]) -> list[Tensor]:
        """The losses in task order, once names and values are known to be right."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise RuntimeError(
                f"Balancer works in one process, and this is one of {dist.get_world_size()}: each rank would decide "
                "from its own gradients, and the ranks would drift apart"
            )
        names = check_losses(losses, self._tasks)
        self.method.check_tasks(len(names))
        self._tasks = self._tasks or names
        return [losses[name].reshape(()) for name in self._tasks]


def _task_gradients(losses: list[Tensor], inputs: list[Tensor]) -> TaskGradients:
    """J at `inputs`, leaving `.grad` and the graph alone."""
    gradients = TaskGradients(inputs, len(losses))
    for task, loss in enumerate(losses):
        gradients.add(task, torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True))
    return gradients


def _weighted(weights: Tensor, losses: list[Tensor]) -> Tensor:
    return torch.stack([w.to(loss) * loss for w, loss in zip(weights.unbind(), losses, strict=True)]).sum()


def _backward(loss: Tensor, *, retain_graph: bool, inputs: list[Tensor] | None) -> None:
    try:
        torch.autograd.backward(loss, retain_graph=retain_graph, inputs=inputs)
    except RuntimeError as error:
        if "donated" not in str(error):
            raise
        raise RuntimeError(
            "a torch.compile'd model frees buffers in its first backward pass, and several losses need several passes: "
            "set torch._functorch.config.donated_buffer = False before the model is compiled"
        ) from error


def _placed(state: State, device: torch.device) -> State:
    """A copy of `state` with its tensors on `device`."""
    return {
        name: value.detach().clone().to(device) if isinstance(value, Tensor) else value for name, value in state.items()
    }
