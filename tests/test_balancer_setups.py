"""Set-ups that used to train something else in silence: each works as in plain torch, or is refused in words."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import mtlgrad
from mtlgrad import GH, MGDA, Balancer, Every, GradDrop, MoCo, Sum
from tests.nets import Losses, Net, batch, grads, jacobian

KINDS = [Sum(), GH(), Every(2, GH()), GradDrop(), MoCo()]


def strided(kind: str) -> nn.Parameter:
    start = torch.zeros(2, 3, 1, 2)
    if kind == "channels_last":
        return nn.Parameter(start.to(memory_format=torch.channels_last))
    if kind == "transposed":
        return nn.Parameter(torch.zeros(2, 1, 3, 2).permute(3, 2, 1, 0))
    if kind == "gaps":
        return nn.Parameter(torch.zeros(2, 3, 1, 4)[..., ::2])
    return nn.Parameter(start)


@pytest.mark.parametrize("apply", ["shared", "loss"])
@pytest.mark.parametrize("memory", ["fast", "lean"])
@pytest.mark.parametrize("kind", ["row-major", "channels_last", "transposed", "gaps"])
@pytest.mark.parametrize("method", [Sum(), GH(), GradDrop(leak=1.0)], ids=lambda m: m.name)
def test_gradients_have_the_strides_that_plain_autograd_gives(
    method: mtlgrad.Method, kind: str, memory: Any, apply: Any
) -> None:
    if apply == "loss" and isinstance(method, GradDrop):
        apply = "shared"
    w, other = strided(kind), strided(kind)
    c = torch.arange(float(w.numel())).reshape(w.shape)
    (other * c).sum().backward()
    balancer = Balancer(method, [w], memory=memory, apply=apply)
    for times in (1, 2):  # the second adds to what is there
        balancer.backward({"a": (w * c).sum(), "b": w.sum() * 0})
        assert w.grad is not None
        assert other.grad is not None
        assert w.grad.stride() == other.grad.stride()
        torch.testing.assert_close(w.grad, times * c)


def test_a_fused_optimizer_updates_the_right_entries() -> None:
    w = nn.Parameter(torch.zeros(2, 2, 1, 2).to(memory_format=torch.channels_last))
    c = torch.arange(8.0).reshape(2, 2, 1, 2)
    Balancer(GH(), [w]).backward({"a": (w * c).sum(), "b": w.sum() * 0})
    torch.optim.SGD([w], lr=1, fused=True).step()
    assert torch.equal(-w.detach().flatten(), torch.arange(8.0))


def test_a_parameter_that_changes_its_memory_layout_between_steps() -> None:
    conv = nn.Conv2d(2, 3, 2)
    x = torch.randn(1, 2, 4, 4)
    balancer = Balancer(GH(), conv)
    for layout in (torch.contiguous_format, torch.channels_last):
        conv.to(memory_format=layout)  # type: ignore[call-overload]
        conv.zero_grad()
        balancer.backward({"a": conv(x).sum(), "b": conv(x).square().sum()})
        assert conv.weight.grad is not None
        assert conv.weight.grad.is_contiguous(memory_format=layout)


# ------------------------------------------------------------------------------------- hooks


@pytest.mark.parametrize("apply", ["shared", "loss"])
@pytest.mark.parametrize("method", [MGDA(), Sum(), Every(2, MGDA()), GradDrop()], ids=lambda m: m.name)
def test_hooks_after_accumulation_see_the_update_once(method: mtlgrad.Method, apply: Any) -> None:
    if isinstance(method, GradDrop):
        apply = "shared"
    net, x = Net(), batch()
    Balancer(method, net.trunk, apply=apply).backward(net.losses(x))
    wanted = grads(net)
    net.zero_grad()
    seen: list[Tensor] = []
    for p in net.parameters():
        p.register_post_accumulate_grad_hook(lambda p: seen.append(p))
    Balancer(method, net.trunk, apply=apply).backward(net.losses(x))
    torch.testing.assert_close(grads(net), wanted)
    assert sorted(map(id, seen)) == sorted(map(id, net.parameters()))


def test_an_optimizer_in_the_hook_steps_along_the_direction() -> None:
    w = nn.Parameter(torch.zeros(2))

    def step(p: Tensor) -> None:
        assert p.grad is not None
        p -= p.grad
        p.grad = None

    w.register_post_accumulate_grad_hook(step)
    Balancer(MGDA(), [w]).backward({"a": w[0] + w[1], "b": w[1] - 3 * w[0]})
    torch.testing.assert_close(w.detach(), torch.tensor([0.0, -1.0]))


def test_a_private_parameter_of_two_tasks_has_its_hook_called_once() -> None:
    net, x = Net(), batch()
    calls: list[int] = []
    net.heads["a"].weight.register_post_accumulate_grad_hook(lambda _: calls.append(1))
    z = net.trunk(x)
    Balancer(GH(), net.trunk).backward({"a": net.heads["a"](z).sum(), "b": -net.heads["a"](z).square().sum()})
    assert len(calls) == 1


@pytest.mark.parametrize("named", [False, True], ids=["private unknown", "private named"])
@pytest.mark.parametrize("memory", ["fast", "lean"])
@pytest.mark.parametrize("method", [MGDA(), GradDrop(), Sum(), MoCo()], ids=lambda m: m.name)
def test_heads_that_come_later_have_their_hooks_called_once(method: mtlgrad.Method, memory: Any, named: bool) -> None:
    """Tasks that were absent at first, and a head that is exchanged between two steps."""
    net, x = Net(), batch()
    shared_heads, last = nn.ModuleList([nn.Linear(5, 1).double() for _ in range(2)]), nn.Linear(5, 1).double()
    seen: list[tuple[nn.Parameter, Tensor]] = []
    for p in (*shared_heads.parameters(), *last.parameters()):
        p.register_post_accumulate_grad_hook(lambda p: seen.append((p, p.grad.clone())))
    private = [*net.heads.parameters(), *shared_heads.parameters(), *last.parameters()] if named else None
    balancer = Balancer(method, net.trunk, tasks=("a", "b", "c"), memory=memory, private=private)

    def losses(head: nn.Module) -> Losses:
        z = net.trunk(x)
        return {"b": head(z).square().mean(), "c": -(head(z) - 1).sin().mean()}

    balancer.backward({"a": net.losses(x)["a"]})
    assert not seen
    for head in (shared_heads[0], shared_heads[1], last):
        head.zero_grad()
        balancer.backward({"a": net.losses(x)["a"], **losses(head)})
        assert sorted(id(p) for p, _ in seen) == sorted(map(id, head.parameters()))
        for p, gradient in seen:
            assert torch.equal(gradient, p.grad)  # type: ignore[arg-type]
        seen.clear()


def test_hooks_of_what_a_reentrant_checkpoint_hides_are_called_task_by_task() -> None:
    net, x = Net(), batch()
    calls: list[int] = []
    head = nn.Linear(5, 1).double()
    head.weight.register_post_accumulate_grad_hook(lambda _: calls.append(1))
    z = net.trunk(x)
    out = [checkpoint(head, z, use_reentrant=True) for _ in range(2)]
    Balancer(GH(), net.trunk).backward({"a": out[0].sum(), "b": -out[1].square().sum()})
    assert len(calls) == 2


def test_hooks_are_back_after_a_step_that_fails() -> None:
    w = nn.Parameter(torch.ones(2))
    calls: list[int] = []
    w.register_post_accumulate_grad_hook(lambda _: calls.append(1))

    def fail(_: Tensor) -> None:
        raise RuntimeError("out of memory")

    broken = w.sum() * 1
    broken.register_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        Balancer(GH(), [w]).backward({"a": w.sum(), "b": broken})
    assert not calls
    w.sum().backward()
    assert len(calls) == 1


def test_tensor_hooks_act_on_every_tasks_gradient() -> None:
    net, x = Net(), batch()
    mask = torch.zeros(8, 6, dtype=torch.float64)
    mask[:4] = 1
    J = jacobian(net, x)
    J[:, :48] *= mask.flatten()
    net.trunk[0].weight.register_hook(lambda g: g * mask)
    step = Balancer(GH(), net.trunk).backward(net.losses(x))
    torch.testing.assert_close(step.gram, J @ J.T)
    torch.testing.assert_close(grads(net.trunk), GH()(J))


# --------------------------------------------------------- parameters that are not the model's


def scenario(name: str) -> Callable[[Net, Balancer], tuple[Balancer, Any]]:
    """What is done after the Balancer was built (and took a step); returns Balancer and trunk."""

    def alone(net: Net, balancer: Balancer) -> tuple[Balancer, Any]:
        return copy.deepcopy(balancer), net.trunk

    def assigned(net: Net, balancer: Balancer) -> tuple[Balancer, Any]:
        net.trunk.load_state_dict({k: v.clone() for k, v in net.trunk.state_dict().items()}, assign=True)
        return balancer, net.trunk

    def called(net: Net, balancer: Balancer) -> tuple[Balancer, Any]:
        others = {k: v.detach().clone().requires_grad_() for k, v in net.trunk.named_parameters()}
        return balancer, lambda x: torch.func.functional_call(net.trunk, others, (x,))

    def detached(net: Net, balancer: Balancer) -> tuple[Balancer, Any]:
        return balancer, lambda x: net.trunk(x).detach().requires_grad_()

    return {"copied": alone, "assigned": assigned, "called": called, "detached": detached}[name]


@pytest.mark.parametrize("step_before", [False, True])
@pytest.mark.parametrize("method", KINDS, ids=lambda m: m.name)
@pytest.mark.parametrize("name", ["copied", "assigned", "called", "detached"])
def test_no_loss_reaches_a_shared_parameter(name: str, method: mtlgrad.Method, step_before: bool) -> None:
    net, x = Net(), batch()
    balancer = Balancer(method, net.trunk.parameters())
    if step_before:
        balancer.backward(net.losses(x))
    balancer, trunk = scenario(name)(net, balancer)
    words = "detached or computed under" if name == "detached" else "other tensors of the same shapes"
    with pytest.raises(ValueError, match=f"no loss reaches any of the trainable shared.*{words}"):
        balancer.backward(net.losses(x, trunk))


def bypass(net: Net, x: Tensor, own: nn.Module) -> Tensor:
    """A loss of its own head alone, as where representations are read from a cache."""
    return own(net.trunk(x).detach()).square().mean()


@pytest.mark.parametrize("apply", ["shared", "loss"])
@pytest.mark.parametrize("micro_batches", [False, True])
@pytest.mark.parametrize("tasks", [None, ("a", "b", "c")])
@pytest.mark.parametrize("method", KINDS, ids=lambda m: m.name)
def test_a_batch_whose_tasks_pass_the_trunk_by(
    method: mtlgrad.Method, tasks: Any, micro_batches: bool, apply: Any
) -> None:
    """Its private parameters learn, and the shared ones have the `.grad` that they had: before any task has reached
    them, too, while there are tasks that may."""
    if micro_batches or isinstance(method, mtlgrad.JacobianAggregator):
        apply = "shared"
    net, x = Net(), batch()
    own = nn.Linear(5, 1).double()
    balancer = Balancer(method, net.trunk, tasks=tasks, apply=apply)

    def alone(old: Tensor | None) -> None:
        net.trunk[0].weight.grad, own.weight.grad = old, None
        if micro_batches:
            balancer.accumulate({"c": bypass(net, x, own)}, of=2)
        step = balancer.backward({"c": bypass(net, x, own)})
        assert step.present == ("c",)
        assert bool(step.finite)
        assert own.weight.grad is not None
        assert net.trunk[0].weight.grad is old
        assert net.trunk[2].weight.grad is None

    if tasks is not None:
        alone(None)
    balancer.backward({**net.losses(x), "c": bypass(net, x, own)})
    assert net.trunk[2].weight.grad is not None
    net.zero_grad()
    alone(None)
    alone(torch.ones_like(net.trunk[0].weight))
    net.zero_grad()
    balancer.backward(net.losses(x))
    assert net.trunk[2].weight.grad is not None


def test_tasks_one_at_a_time_that_all_pass_the_trunk_by_are_told_with_the_last() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk, tasks=("a", "b"))
    own = nn.Linear(5, 1).double()
    balancer.backward({"a": bypass(net, x, own)})
    with pytest.raises(ValueError, match=r"no loss reaches any.*detached.*backward\(\) of its summed losses"):
        balancer.backward({"b": bypass(net, x, own)})


def test_a_task_that_used_to_reach_the_trunk_is_told() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk, tasks=("a", "b"))
    balancer.backward({"a": net.losses(x)["a"]})
    own = nn.Linear(5, 1).double()
    balancer.backward({"b": bypass(net, x, own)})
    with pytest.raises(ValueError, match="no loss reaches any.*detached"):
        balancer.backward({"a": bypass(net, x, own)})


def test_a_window_of_which_only_the_first_part_reaches_the_trunk() -> None:
    for method in (Sum(), GH()):
        net, x = Net(), batch()
        own = nn.Linear(5, 1).double()
        balancer = Balancer(method, net.trunk)
        for _ in range(2):
            balancer.accumulate({"a": net.losses(x)["a"], "b": net.losses(x)["b"]}, of=2)
            balancer.backward({"a": bypass(net, x, own), "b": bypass(net, x, own) + 1})
        assert net.trunk[0].weight.grad is not None


def test_a_new_task_with_a_head_of_a_shared_parameters_shape_replaces_nothing() -> None:
    w, u = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(2))
    head = nn.Linear(3, 3, bias=False)
    balancer = Balancer(GH(), [w, u], tasks=("a", "b"))
    balancer.backward({"a": w.square().sum() + u.sum()})
    balancer.backward({"b": head(torch.ones(3)).sum() * u.sum()})  # w was reached before, and is no more


@pytest.mark.parametrize("modules", [False, True])
@pytest.mark.parametrize("how", ["weight_norm", "assigned"])
def test_a_parameter_that_was_replaced_is_found(how: str, modules: bool) -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk if modules else net.trunk.parameters())
    balancer.backward(net.losses(x))
    if how == "weight_norm":
        parametrizations.weight_norm(net.trunk[0])
    else:
        net.trunk[0].load_state_dict({k: v.clone() for k, v in net.trunk[0].state_dict().items()}, assign=True)
    with pytest.raises(ValueError, match="has been replaced.*Build the Balancer"):
        balancer.backward(net.losses(x))


def test_model_and_balancer_copied_together_go_on() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk)
    balancer.backward(net.losses(x))
    wanted = grads(net)
    for other, its in (copy.deepcopy((net, balancer)), pickle.loads(pickle.dumps((net, balancer)))):
        other.zero_grad()
        its.backward(other.losses(x))
        torch.testing.assert_close(grads(other), wanted)


def test_a_pickle_holds_no_buffers() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk)
    fresh = len(pickle.dumps((net, balancer)))
    net.passes.clear()
    for _ in range(3):
        balancer.backward({**net.losses(x), **{str(k): (k + 1) * net.losses(x)["a"] for k in range(40)}})
        net.zero_grad()
    net.passes.clear()
    assert len(pickle.dumps((net, balancer))) < 1.5 * fresh
    balancer.accumulate(net.losses(x))
    with pytest.raises(ValueError, match="copied inside a window"):
        pickle.dumps(balancer)


@pytest.mark.parametrize("method", KINDS, ids=lambda m: m.name)
def test_a_deliberately_frozen_trunk_is_no_error_and_may_thaw(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()
    balancer = Balancer(method, net.trunk)
    net.trunk.requires_grad_(False)
    balancer.backward({t: net.heads[t](net.trunk(x)).square().mean() for t in ("a", "b")})
    assert net.heads["a"].weight.grad is not None
    assert net.trunk[0].weight.grad is None
    net.trunk[2].requires_grad_(True)
    balancer.backward(net.losses(x))
    net.trunk.requires_grad_(True)
    balancer.backward(net.losses(x))
    assert net.trunk[0].weight.grad is not None


def test_frozen_parameters_have_no_columns() -> None:
    w = nn.Parameter(torch.ones(3))
    frozen = nn.Parameter(torch.ones(1000, 1000), requires_grad=False)
    tiny = nn.Parameter(torch.ones(2).to(torch.float8_e4m3fn), requires_grad=False)
    balancer = Balancer(GH(), [frozen, w, tiny])
    balancer.backward({"a": (w * frozen[0, 0]).sum(), "b": -w.square().sum()})
    assert balancer.engine is not None
    assert balancer.engine.cost.memory <= 2 * 3 * 4
    averaging = Balancer(MoCo(), [frozen, w])
    averaging.backward({"a": w.sum(), "b": -w.square().sum()})
    (state,) = averaging.state_dict()["states"]
    assert state["tracked"].shape == (2, 3)
    frozen.requires_grad_(True)
    averaging.backward({"a": w.sum() + frozen.sum(), "b": -w.square().sum()})
    (thawed,) = averaging.state_dict()["states"]
    assert thawed["tracked"].shape == (2, 3 + 10**6)


def test_a_parameter_that_grew_and_a_backward_under_no_grad() -> None:
    w = nn.Parameter(torch.ones(2))
    balancer = Balancer(GH(), [w])
    balancer.backward({"a": w.sum(), "b": w.square().sum()})
    w.grad, w.data = None, torch.ones(5)
    losses = {"a": w.sum(), "b": w.square().sum()}
    with torch.no_grad():
        step = balancer.backward(losses, scale=2.0)
    assert w.grad.shape == (5,)  # type: ignore[union-attr]
    torch.testing.assert_close(w.grad, torch.full((5,), 6.0))
    assert float(step.gram[0, 0]) == 5  # type: ignore[index]


def test_heads_given_as_shared_are_told_once(recwarn: pytest.WarningsRecorder) -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.heads)
    for _ in range(3):
        balancer.backward(net.losses(x))
    assert [str(one.message)[:27] for one in recwarn] == ["no shared parameter has a g"]


# --------------------------------------------------------------------- checkpoints, features


def test_reentrant_checkpoints_work_or_are_refused() -> None:
    net, x = Net(), batch().requires_grad_()

    def losses(how: bool = True) -> Losses:
        return net.losses(x, lambda v: checkpoint(net.trunk, v, use_reentrant=how))

    for method, options in (
        (GH(), {"apply": "loss"}),
        (GH(), {"private": list(net.heads.parameters())}),
        (Sum(), {"private": list(net.heads.parameters())}),
        (Sum(), {"diagnose_every": 1}),
        (Every(2, GH()), {"apply": "loss"}),
    ):
        balancer = Balancer(method, net.trunk, **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="reentrant checkpoint.*use_reentrant=False"):
            balancer.backward(losses())
        assert all(p.grad is None for p in net.parameters())
        assert bool(balancer.backward(losses(False)).finite)
        net.zero_grad()
    with pytest.raises(ValueError, match="reentrant"):
        mtlgrad.measure(losses(), net.trunk)
    Balancer(GH(), net.trunk).backward(losses())
    wanted = grads(net)
    net.zero_grad()
    Balancer(GH(), net.trunk, memory="lean").backward(losses())
    torch.testing.assert_close(grads(net), wanted)
    net.zero_grad()
    z = checkpoint(net.trunk, x, use_reentrant=True)
    Balancer(GH(), net.trunk).backward(net.losses_at(z), features=z)
    assert net.trunk[0].weight.grad is not None
    z = net.trunk(x)
    with pytest.raises(ValueError, match="reentrant checkpoint after the features"):
        Balancer(GH(), net.trunk).backward(
            {t: checkpoint(net.heads[t], z, use_reentrant=True).square().sum() for t in ("a", "b")}, features=z
        )


def test_features_that_do_not_say_it_all() -> None:
    net, other, x = Net(), Net(1), batch()
    weight = net.trunk[0].weight

    def attempt(z: Any, losses: Losses, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Balancer(MGDA(), net.trunk).backward(losses, features=z)
        assert all(p.grad is None for p in net.parameters())

    z = net.trunk(x).detach().requires_grad_()
    attempt(z, net.losses_at(z), r"features\[0\] does not depend.*leaf, as after detach")
    z = other.trunk(x)
    attempt(z, net.losses_at(z), r"features\[0\] does not depend.*another network")
    z = net.trunk(x)
    losses = net.losses_at(z)
    attempt(z, {"a": losses["a"], "b": losses["b"] + weight.square().sum()}, r"'b' reaches shared\[0\] without")
    inside = net.trunk[0](x)
    z = net.trunk[1:](inside)
    losses = net.losses_at(z)
    attempt([inside, z], {"a": losses["a"] + inside.sum(), "b": losses["b"]}, "computed from another")
    attempt([z, z], losses, "a tensor twice")


# ------------------------------------------------------------------------------- first hour


def test_names_modules_lists_and_tensors() -> None:
    net, x = Net(), batch()
    Balancer(GH(), net.trunk.parameters()).backward(net.losses(x))
    wanted = grads(net)
    for shared in (net.trunk, [net.trunk], [net.trunk[0], *net.trunk[2].parameters()], [net.trunk, net.trunk[0]]):
        for form in (dict, lambda d: list(d.values()), lambda d: torch.stack(list(d.values()))):
            net.zero_grad()
            step = Balancer("GH", shared).backward(form(net.losses(x)))
            torch.testing.assert_close(grads(net), wanted)
    assert step.tasks == ("0", "1")
    balancer = Balancer("gh", net.trunk, tasks=("a", "b"))
    assert balancer.backward(list(net.losses(x).values())).tasks == ("a", "b")
    with pytest.raises(ValueError, match="one entry a task"):
        balancer.backward(net.losses(x)["a"])


def test_groups_and_private_parameters_are_given_as_shared_ones_are() -> None:
    net, x = Net(), batch()

    def step(**arguments: Any) -> Tensor:
        net.zero_grad()
        Balancer("gh", net.trunk, **arguments).backward(net.losses(x))
        return grads(net)

    first, last = net.trunk[0], net.trunk[2]
    wanted = step(groups={"l0": list(first.parameters()), "l1": list(last.parameters())})
    forms: list[dict[str, Any]] = [
        {"l0": first, "l1": last},
        {"l0": [first], "l1": last.parameters()},
        {"l0": [first.weight, first.bias], "l1": [nn.Tanh(), last, last.bias]},
    ]
    for groups in forms:
        torch.testing.assert_close(step(groups=groups), wanted)
    for private in (net.heads, [net.heads["a"], net.heads["b"]], [net.heads["a"], *net.heads["b"].parameters()]):
        torch.testing.assert_close(step(groups=forms[0], private=private), wanted)
    assert not torch.equal(step(private=net.heads["a"]), step())
    assert net.heads["b"].weight.grad is not None


def test_what_was_probably_meant() -> None:
    from torchjd.aggregation import UPGrad

    net, x = Net(), batch()
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, r"GH\(\)", lambda: Balancer(GH, net.trunk)),  # type: ignore[arg-type]
        (TypeError, r"torchjd.*mtlgrad.UPGrad\(\)", lambda: Balancer(UPGrad(), net.trunk)),  # type: ignore[arg-type]
        (TypeError, "GramAggregator", lambda: Balancer(lambda J: J.sum(0), net.trunk)),  # type: ignore[arg-type]
        (TypeError, "shared must be modules.*OrderedDict.*values", lambda: Balancer("gh", net.trunk.state_dict())),  # type: ignore[arg-type]
        (TypeError, "shared must be modules.*got str", lambda: Balancer("gh", "trunk")),  # type: ignore[arg-type]
        (TypeError, "shared must be modules.*call it", lambda: Balancer("gh", net.trunk.parameters)),  # type: ignore[arg-type]
        (TypeError, "shared must be modules.*got int", lambda: Balancer("gh", 3)),  # type: ignore[arg-type]
        (
            TypeError,
            r"groups\['l0'\] must be modules.*one tensor: wrap it",
            lambda: Balancer("gh", net.trunk, groups={"l0": net.trunk[0].weight}),  # type: ignore[dict-item]
        ),
        (TypeError, r"groups\['l0'\] must be.*call it", lambda: Balancer("gh", net, groups={"l0": net.parameters})),  # type: ignore[dict-item]
        (TypeError, "groups must be.*to modules or parameters.*got list", lambda: Balancer("gh", net, groups=[net])),  # type: ignore[arg-type]
        (TypeError, "private must be.*got int", lambda: Balancer("gh", net.trunk, private=3)),  # type: ignore[arg-type]
        (ValueError, r"private\[0\] is shared\[0\]", lambda: Balancer("gh", net.trunk, private=net)),
        (
            ValueError,
            r"private\[0\] is shared\[0\]",
            lambda: Balancer("gh", net.trunk, private=net.trunk.parameters()),
        ),
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=words):
            call()
    Balancer("gh", net.trunk, private=(idle := nn.Linear(2, 2)).parameters()).backward(net.losses(x))
    assert idle.weight.grad is None, "a private parameter that no loss reaches keeps grad = None"


def test_representations_for_people_and_loggers() -> None:
    net, x = Net(), batch()
    balancer = Balancer("gh", net.trunk)
    assert repr(balancer) == "Balancer(GH, 4 shared tensors of 101 entries; tasks not known yet; step 0)"
    step = balancer.backward(net.losses(x))
    assert len(repr(step)) < 160
    assert repr(step).startswith("StepRecord(losses: a ")
    assert "conflicts: yes -> no" in repr(step)
    flat = step.scalars()
    assert all(isinstance(value, float) for value in flat.values())
    assert flat["cosine/a/b"] == pytest.approx(float(step.cosines[0, 1]))  # type: ignore[index]
    assert flat["weight/b"] == pytest.approx(float(step.weights[1]))  # type: ignore[index]
    assert "weight/a" in flat
    grouped = Balancer("gh", net.trunk, groups="tensor").backward(net.losses(x)).scalars()
    assert "weight/3/b" in grouped
    partly = balancer.backward({"b": net.losses(x)["b"]})
    assert "loss/a" not in partly.scalars()
    assert "absent: a" in repr(partly)
    assert "nan" not in str(partly.to_dict())


def test_measuring_touches_nothing() -> None:
    net, x = Net(), batch()
    losses = net.losses(x)
    record = mtlgrad.measure(losses, net.trunk)
    assert all(p.grad is None for p in net.parameters())
    torch.testing.assert_close(record.gram, jacobian(net, x) @ jacobian(net, x).T)
    step = Balancer("gh", net.trunk).backward(losses)  # the graph is still there
    torch.testing.assert_close(step.cosines, record.cosines)
