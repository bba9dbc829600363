"""What only a GPU can show: `make gpu-check`. Without one every test here is skipped, and says so."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mtlgrad
from mtlgrad import Balancer
from mtlgrad.engines import Engine
from mtlgrad.engines.layerwise import Layerwise
from mtlgrad.engines.layerwise import plan as planning
from mtlgrad.engines.per_task import PerTask
from tests.engines.comparing import worth_it_for_small_layers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: torch.cuda.is_available() is False")
DEVICE = torch.device("cuda")
ENGINES = [Layerwise, PerTask]
WAITS = ("cudaStreamSynchronize", "aten::item", "aten::_local_scalar_dense")


def model(width: int = 64, depth: int = 3, batch: int = 32, m: int = 2) -> tuple[nn.Module, nn.ModuleList, Tensor]:
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    own = nn.ModuleList([nn.Linear(width, 1) for _ in range(m)])
    return nn.Sequential(*layers).to(DEVICE), own.to(DEVICE), torch.randn(batch, width, device=DEVICE)


def losses_of(trunk: nn.Module, own: nn.ModuleList, x: Tensor) -> dict[str, Tensor]:
    z = trunk(x)
    return {str(i): (head(z) - i).square().mean() for i, head in enumerate(own)}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", [mtlgrad.GH(), mtlgrad.PCGrad(), mtlgrad.MGDA()], ids=lambda m: m.name)
def test_a_step_equals_the_hosts(engine: type[Engine], method: mtlgrad.Method, monkeypatch: pytest.MonkeyPatch) -> None:
    worth_it_for_small_layers(monkeypatch)
    trunk, own, x = model()
    found = []
    for place in (DEVICE, torch.device("cpu")):
        trunk, own, x = trunk.to(place).double(), own.to(place).double(), x.to(place).double()
        trunk.zero_grad()
        balancer = Balancer(method, trunk, seed=3)
        balancer._engines = [engine()]
        balancer.backward(losses_of(trunk, own, x))
        found.append([p.grad.cpu() for p in trunk.parameters()])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", [mtlgrad.GH(), mtlgrad.GHPlusPlus(), mtlgrad.MGDA()], ids=lambda m: m.name)
def test_two_tasks_never_make_the_host_wait(
    engine: type[Engine], method: mtlgrad.Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert method.traits.closed_form_pair
    worth_it_for_small_layers(monkeypatch)
    trunk, own, x = model()
    balancer = Balancer(method, trunk)
    balancer._engines = [engine()]
    balancer.backward(losses_of(trunk, own, x))
    losses = losses_of(trunk, own, x)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        balancer.backward(losses)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_profiler_counts_no_synchronisation_for_two_tasks() -> None:
    trunk, own, x = model(256)
    balancer = Balancer(mtlgrad.GH(), trunk)
    balancer.backward(losses_of(trunk, own, x))
    losses = losses_of(trunk, own, x)
    torch.cuda.synchronize()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    ) as seen:
        balancer.backward(losses)
    waits = [e.name for e in seen.events() if e.name in WAITS]
    assert waits == []


def test_half_precision_with_a_grad_scaler_learns() -> None:
    trunk, own, x = model(64)
    optimizer = torch.optim.SGD([*trunk.parameters(), *own.parameters()], lr=0.05)
    scaler = torch.amp.GradScaler("cuda")
    balancer = Balancer(mtlgrad.GH(), trunk)
    seen = []
    for _ in range(60):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.float16):
            losses = losses_of(trunk, own, x)
        balancer.backward(losses, scale=scaler)
        scaler.step(optimizer)
        scaler.update()
        seen.append(sum(float(loss.detach()) for loss in losses.values()))
    assert seen[-1] < 0.5 * seen[0]
    assert scaler.get_scale() > 1


@pytest.mark.parametrize(
    "method", [mtlgrad.NashMTL(), mtlgrad.GradVac(), mtlgrad.MoCo(), mtlgrad.GradDrop()], ids=lambda m: m.name
)
def test_states_and_generators_follow_the_model(method: mtlgrad.Method) -> None:
    trunk, own, x = model()
    balancer = Balancer(method, trunk)
    for _ in range(2):
        balancer.backward(losses_of(trunk, own, x))
    state = copy.deepcopy(balancer.state_dict())
    trunk, own, x = trunk.cpu(), own.cpu(), x.cpu()
    if isinstance(method, mtlgrad.GradDrop):  # it goes on drawing where J is: on another kind of device
        with pytest.raises(ValueError, match="another kind of device"):
            Balancer(method, trunk).load_state_dict(state)
    else:
        other = Balancer(method, trunk)
        other.load_state_dict(state)
        assert bool(other.backward(losses_of(trunk, own, x)).finite)
    trunk.to(DEVICE)
    own.to(DEVICE)
    step = balancer.backward(losses_of(trunk, own, x.to(DEVICE)))
    assert bool(step.finite)


def test_what_is_free_is_known() -> None:
    from mtlgrad.engines.memory import free_memory

    free = free_memory(DEVICE)
    assert free is not None
    assert 0 < free <= torch.cuda.get_device_properties(0).total_memory


def test_one_loss_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_WORTH_ON_ACCELERATOR", -1e18)
    trunk, _, x = model(256)
    labels = torch.randint(256, (len(x),), device=DEVICE)
    found = []
    for engine in (Layerwise, PerTask):
        trunk.zero_grad()
        balancer = Balancer(mtlgrad.MGDA(), trunk)
        balancer._engines = [engine()]
        balancer.backward({str(i): one for i, one in enumerate(F.cross_entropy(trunk(x), labels, reduction="none"))})
        found.append([p.grad.clone() for p in trunk.parameters()])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)
