"""The training-loop entry: losses in, `.grad` out. The only place with mutable state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mtlgrad import catalog
from mtlgrad.arguments import Given, Groups, check_choices, grouped, private_parameters, shared_parameters, task_names
from mtlgrad.diagnostics import StepRecord
from mtlgrad.engines import ENGINES, Attendant, Call, Choice, Window, choose
from mtlgrad.engines.processes import Processes, surrounding
from mtlgrad.engines.records import record
from mtlgrad.engines.setup import Setup
from mtlgrad.losses import Losses, Scale, check_end, check_window
from mtlgrad.memory import Memory
from mtlgrad.method import Method


class Balancer:
    """Decides the update of the shared parameters from several losses, by any method of the zoo.

    Gradients *accumulate* into `.grad`, as `Tensor.backward` has it: zero them between steps. A private parameter that
    no loss reaches keeps ``grad = None``. Hooks after accumulation are called once, with the update (but task by task
    for a private parameter that is used inside a reentrant checkpoint only, where nobody sees it); a hook of
    `Tensor.register_hook` is part of the graph, and sees each task's gradient.

    With a `torch.amp.GradScaler`, give the losses as they are and `backward(losses, scale=scaler)`; `scaler.step` and
    `scaler.update` follow as usual. Losses that were scaled beforehand are right only for a method whose traits say
    `scale_equivariant` and not `needs_losses`: any other decides differently, and once the scaler has divided by its
    scale the update has the wrong size.

    Parameters
    ----------
    method:
        A `Scalarizer` (one backward pass a step) or a `GradientAggregator` (m passes), or the name of one in the
        catalog.
    shared:
        What the tasks have in common, on one device: modules, parameters, or a mix. Duplicates (tied weights) count
        once.
    private:
        Which other parameters may get a gradient, given as `shared` is. None: every leaf the losses reach, as in plain
        torch.
    tasks:
        Task names in order. None: those of the first call. Order matters to some methods (`GHPlusPlus`).
    apply:
        "shared": shared parameters get the direction, every private parameter the unweighted gradient of its own
        task. "loss": the weights multiply whole losses, private parameters included (Gradient Harmonization,
        Eq. 44), for one more backward pass. A scalarizer weights whole losses by definition, either way.
    groups:
        None: one decision for all shared parameters. "tensor": one per parameter tensor. A mapping of names to modules,
        parameters, or a mix: one per group; together the groups must hold exactly the shared parameters.
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
        method: Method | str,
        shared: Given,
        *,
        private: Given | None = None,
        tasks: Sequence[str] | None = None,
        apply: Literal["shared", "loss"] = "shared",
        groups: Groups | None = None,
        memory: Literal["fast", "lean"] = "fast",
        seed: int = 0,
        diagnose_every: int = 0,
    ) -> None:
        method = catalog.as_method(method)
        check_choices(method, apply, groups, memory, seed, diagnose_every)
        self.method = method
        modules, given = shared_parameters(shared)
        self._group_names, sizes, self._shared = grouped(groups, given)
        self._setup = Setup(
            method=method,
            modules=modules,
            shared=self._shared,
            private=private_parameters(private, self._shared),
            apply=apply,
            memory=memory,
            group_sizes=sizes,
            diagnose_every=diagnose_every,
        )
        self._tasks: tuple[str, ...] | None = None if tasks is None else task_names("tasks", tasks)
        if self._tasks is not None:
            method.check_tasks(len(self._tasks))
        self._memory = Memory(method, self._shared, sizes, seed)
        self._warned = False
        self._window: Window | None = None
        self._engine: Choice | None = None
        self._fresh()

    def _fresh(self) -> None:
        """What holds buffers and weak references, and is worth nothing to a copy."""
        self._engines = [kind() for kind in ENGINES]
        self._attendant = Attendant(self._setup.modules)
        self._processes: Processes | None = None

    def __repr__(self) -> str:
        entries = sum(p.numel() for p in self._shared)
        tasks = "tasks not known yet" if self._tasks is None else f"tasks {', '.join(self._tasks)}"
        what = f"{len(self._shared)} shared tensors of {entries:,} entries"
        return f"Balancer({self.method.name}, {what}; {tasks}; step {self._memory.steps})"

    def backward(
        self,
        losses: Losses,
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        retain_graph: bool = False,
        scale: Scale | None = None,
    ) -> StepRecord:
        """Compute the update and add it to the `.grad` of the shared parameters, and the private ones' gradients.

        Parameters
        ----------
        losses:
            Task name to scalar loss; or a list or a tensor [m] of losses in task order. A task of an earlier call (or
            of `tasks=`) that is not there, or is None, is absent: the others decide as if they were all, and its state
            and its private parameters stay as they are.
        features:
            The shared representation(s) z through which every loss depends on the shared parameters. The decision is
            then made on the gradients at z (MGDA-UB, Sener & Koltun 2018, Sec. 3.3), and one pass goes through the
            trunk, for any m. A scalarizer needs no gradients and pays no heed. All tasks must meet at the same z: a
            z of its own for each task makes their gradients orthogonal, and hides every conflict.
        retain_graph:
            Keep the graph for a further backward pass.
        scale:
            A number > 0 or a `torch.amp.GradScaler`: the losses, given without it, are multiplied by it before they
            are back-propagated, so that half-precision gradients do not underflow. The method and the record see
            losses and gradients without it; every `.grad` holds it, as `scaler.step` and `scaler.unscale_` expect.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, the value and what is allowed; nothing has changed then. That no loss reaches a
            trainable shared parameter, though its task used to or no task ever has, or that one was replaced, shows on
            the way back only: zero the gradients then. (A batch of tasks that have never led to the shared parameters,
            while others do or may, leaves their `.grad` as it is.)
            Whatever is raised, here or by `accumulate`, an open window of micro-batches is dropped: zero the gradients
            and start it again.

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
            with torch.enable_grad():
                call = self._call(losses, scale, features=features, retain_graph=retain_graph)
                engine, self._engine = choose(call, self._engines)
                outcome = self._attendant.run(call, engine)
            self._memory.keep(outcome.states, call.tasks, call.present)
        except BaseException:
            self._tasks = tasks
            raise
        finally:
            self._window = None
        self._memory.steps += 1
        if outcome.separate:
            self._warn_of_heads()
        return record(call, outcome, self._tasks or (), self._group_names)

    def accumulate(self, losses: Losses, *, of: int | None = None, scale: Scale | None = None) -> None:
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
            check_window(self.method, self._setup.apply, of, "none" if self._window is None else self._window.of)
            with torch.enable_grad():
                call = self._call(losses, scale, of=of, ends=False)
                engine, self._engine = choose(call, self._engines)
                held = self._attendant.collect(call, engine)
            values = dict(zip(call.present, call.values.unbind(), strict=True))
            count = 1 if self._window is None else self._window.count + 1
            self._window = Window(values, count, of, scale, engine, held)
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
            "layout": (self._setup.apply, self._group_names),
            "tasks": self._tasks,
            **self._memory.save(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`, on a Balancer built with the same arguments, fresh or not.

        Raises
        ------
        ValueError
            Naming what differs: the method, `apply`, the groups, the tasks, the shape of the shared parameters, or for
            a stochastic method the kind of device; nothing has changed then.
        """
        own = {"method": self.method.name, "layout": (self._setup.apply, self._group_names), "tasks": self._tasks}
        self._tasks = self._memory.load(state, own)
        self._window = None

    def __getstate__(self) -> dict[str, Any]:
        """Without buffers; not inside a window of micro-batches."""
        if self._window is not None:
            raise ValueError("a Balancer cannot be copied inside a window of micro-batches: call backward() to end it")
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_engines", "_attendant", "_processes")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._fresh()

    # -------------------------------------------------------------------- private

    def _call(self, losses: Losses, scale: Scale | None, **more: Any) -> Call:
        """What is asked for; the tasks and the processes are known from here on."""
        self._processes = surrounding(self._shared, self._processes)
        call, self._tasks = self._setup.call(
            losses, scale, self._tasks, self._memory, self._window, self._processes, **more
        )
        return call

    def _warn_of_heads(self) -> None:
        """Said once, where no parameter that was given as shared is: what heads given as shared= look like."""
        if not self._warned:
            warnings.warn(
                "no shared parameter has a gradient from more than one task, so that the tasks cannot conflict: are "
                "these the heads? shared= is meant for what the tasks have in common",
                stacklevel=3,
            )
        self._warned = True
