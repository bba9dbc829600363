"""What holds for every system: phases, players, resuming, blindness to target labels, and that each is described."""

import copy
import inspect
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mtlgrad
from mtlgrad.compare.loop import train
from mtlgrad.compare.problem import Phase
from tasks.uda import systems
from tasks.uda.backbones import BACKBONES, Backbone
from tasks.uda.systems import SYSTEMS, System
from tasks.uda.task import UDA

CPU = torch.device("cpu")
VARIANTS = [(name, variant) for name, system in SYSTEMS.items() for variant in system.variants]
QUICK: dict[str, Any] = {"steps": 6, "batch_size": 16, "warmup": 0}
SOON: dict[str, dict[str, Any]] = {
    name: {"period": 2} for name, system in SYSTEMS.items() if "period" in system.defaults
}
"""Settings by which a few steps reach what happens once a period."""


def live(method: str, variant: str = "principled", seed: int = 0, **options: Any) -> UDA:
    task = UDA(**{**QUICK, "method": method, "variant": variant, "settings": SOON.get(method, {}), **options})
    task.setup(seed=seed, device=CPU)
    return task


def descend(phase: Phase) -> None:
    """Plain sum of the losses, restricted to what the phase's optimizers own."""
    owned = [p for o in phase.optimizers for group in o.param_groups for p in group["params"]]
    for optimizer in phase.optimizers:
        optimizer.zero_grad()
    torch.stack(list(phase.losses.values())).sum().backward(inputs=owned)
    for optimizer in phase.optimizers:
        optimizer.step()


def advance(task: UDA, indices: range) -> None:
    for index in indices:
        for phase in task.step(index):
            descend(phase)


def pulled(loss: torch.Tensor, network: nn.Module) -> bool:
    """Whether the loss has a gradient on some parameter of the network."""
    parameters = list(network.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) if parameters else ()
    return any(one is not None for one in found)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_described(name: str) -> None:
    system = SYSTEMS[name]
    assert system.__module__ == f"tasks.uda.systems.{name}", "a system is one file, called as the system is"
    for said in ("title", "paper", "alignment", "classification", "shared", "published"):
        assert getattr(system, said, None), f"{name} does not say its {said}"
    assert system.__doc__
    assert "principled" in system.variants
    assert all(system.variants.values())
    readme = (Path(inspect.getfile(systems)).parents[1] / "README.md").read_text()
    row = next((line for line in readme.splitlines() if line.startswith(f"| `{name}` |")), None)
    assert row is not None, f"the README's table of systems has no row `{name}`"
    for said in (
        *(system.title, system.paper, system.alignment, system.classification, system.shared),
        *system.variants.values(),
    ):
        assert said in row, f"row `{name}` of the README does not say {said!r}"


def test_every_file_of_a_system_is_in_the_table() -> None:
    folder = Path(inspect.getfile(systems)).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__", "base"} == set(SYSTEMS)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_the_pair_pulls_on_what_it_shares_and_on_nothing_else_together(name: str, variant: str) -> None:
    task = live(name, variant)
    advance(task, range(1))  # where a coefficient grows from 0, the first step has no pull to see
    pairs = set()
    for phase in task.step(1):
        if len(phase.losses) > 1:
            pairs.add(phase.name)
            assert len(phase.losses) == task.outlines[phase.name].losses
            assert phase.shared, phase.name
            shared = {id(p) for p in phase.shared}
            owned = {id(p) for o in phase.optimizers for group in o.param_groups for p in group["params"]}
            for network in task.system.networks.values():
                together = [pulled(loss, network) for loss in phase.losses.values()]
                inside = {id(p) for p in network.parameters()} & shared
                if inside:
                    assert all(together), f"{phase.name}: one loss never reaches a shared network"
                elif phase.apply == "shared" and {id(p) for p in network.parameters()} & owned:
                    assert sum(together) < 2, f"{phase.name}: both losses reach a network that is not shared"
            if variant == "principled":
                assert tuple(phase.losses) == SYSTEMS[name].tasks
        descend(phase)
    assert pairs <= set(SYSTEMS[name].pairs)
    assert bool(pairs) == bool(SYSTEMS[name].pairs)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_a_resumed_run_is_the_same_run(name: str, variant: str) -> None:
    whole = live(name, variant)
    advance(whole, range(3))
    snapshot = whole.state_dict()
    buffer = io.BytesIO()
    torch.save(snapshot, buffer)
    advance(whole, range(3, 6))  # must not write into the snapshot
    expected = whole.state_dict()
    for state in (snapshot, torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)):
        resumed = live(name, variant)
        for network in resumed.system.networks.values():
            for parameter in network.parameters():
                nn.init.zeros_(parameter)  # whatever is not in the state shows
        resumed.load_state_dict(state)
        advance(resumed, range(3, 6))
        torch.testing.assert_close(resumed.state_dict(), expected, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def poisoned() -> Iterator[UDA]:
    """A task whose target labels are all wrong; the domain is cached and shared, hence the repair."""
    task = UDA(**QUICK)
    task.setup(seed=0, device=CPU)
    domain = task._domains["target"]
    before = {part: getattr(domain, part).labels.clone() for part in ("train", "validation", "test")}
    for part in before:
        getattr(domain, part).labels.fill_(0)
    yield task
    for part, labels in before.items():
        getattr(domain, part).labels.copy_(labels)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_poisoned_target_labels_leave_training_identical(
    name: str, variant: str, request: pytest.FixtureRequest
) -> None:
    task = live(name, variant)
    advance(task, range(4))
    request.getfixturevalue("poisoned")
    blind = live(name, variant)
    assert not blind._batches["target"].draw()[1].any()
    blind = live(name, variant)
    advance(blind, range(4))
    torch.testing.assert_close(task.state_dict(), blind.state_dict(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_system_trains_with_a_method_and_predicts(name: str, variant: str) -> None:
    task = UDA(**{**QUICK, "steps": 3, "method": name, "variant": variant, "settings": SOON.get(name, {})})
    history = train(task, mtlgrad.GH(), seed=0, evaluate_every=3, diagnose_every=1)
    assert (history.status, history.skipped) == ("ok", 0)
    assert bool(history.decisions) == bool(SYSTEMS[name].pairs)
    images = torch.randn(5, 1, 16, 16)
    task.system.networks.eval()
    probabilities = task.system.probabilities(images)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5))
    assert task.system.features(images).shape[0] == 5


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_trains_a_transformer_too(name: str) -> None:
    task = live(name, backbone="vit_small")
    advance(task, range(2))
    assert all(parameter.isfinite().all() for parameter in task.system.networks.parameters())


@pytest.mark.parametrize("name", SYSTEMS)
def test_everything_random_comes_from_the_seed(name: str) -> None:
    first, same, other = (live(name, seed=seed).state_dict() for seed in (0, 0, 1))
    torch.testing.assert_close(first, same, rtol=0, atol=0, equal_nan=True)
    networks, others = first["system"]["networks"], other["system"]["networks"]
    assert any(not torch.equal(networks[key], others[key]) for key in networks)


@pytest.mark.parametrize("name", SYSTEMS)
def test_warming_up_never_looks_at_the_target(name: str) -> None:
    task = live(name, warmup=1)
    drawn = task._batches["target"].draw
    task._batches["target"].draw = lambda: tuple(torch.full_like(part, -1) for part in drawn())  # type: ignore[method-assign]
    other = live(name, warmup=1)
    for one in (task, other):
        phases = list(one.step(0))
        assert [tuple(phase.losses) for phase in phases] == [("classification",)]
        descend(phases[0])
    torch.testing.assert_close(task.system.state_dict(), other.system.state_dict(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_stage_that_belongs_to_the_system_is_there_on_a_pretrained_backbone_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = SYSTEMS[name]
    scratch = live(name, steps=20, warmup=None).system
    assert scratch.warmup == round(20 * max(system.source_first, system.scratch_first))
    make = BACKBONES["vit_small" if system.transformer else "digits"]

    def pretrained(channels: int, size: int) -> Backbone:
        backbone = make(channels, size)
        backbone.pretrained = True
        return backbone

    monkeypatch.setitem(BACKBONES, "vit_small" if system.transformer else "digits", pretrained)
    assert live(name, steps=20, warmup=None).system.warmup == round(20 * system.source_first)


@pytest.mark.parametrize("name", ["shot", "adda"])
def test_who_adapts_a_source_model_has_one_first(name: str) -> None:
    assert SYSTEMS[name].source_first == 0.5


@pytest.mark.parametrize("name", SYSTEMS)
def test_settings_change_training(name: str) -> None:
    system: type[System] = SYSTEMS[name]

    def trained(**options: Any) -> UDA:
        task = live(name, **options)
        for classifier in (net for key, net in task.system.networks.items() if key.startswith("classifier")):
            classifier[-1].weight.data.mul_(30)  # sure of what they say: some losses pass over what is not
        advance(task, range(3))
        return task

    reference = trained()
    for setting, default in system.defaults.items():
        own = {**SOON.get(name, {}), setting: default + 1 if isinstance(default, int) else default / 2 + 0.01}
        changed = trained(settings=own)
        old, new = reference.system.networks.state_dict(), changed.system.networks.state_dict()
        same = old.keys() == new.keys() and all(
            old[key].shape == new[key].shape and torch.equal(old[key], new[key]) for key in old
        )
        assert not same or setting == "period", f"{setting} has no effect"


def test_a_copy_is_what_the_state_holds() -> None:
    task = live("dann")
    state = task.state_dict()
    before = copy.deepcopy(state)
    advance(task, range(1))
    torch.testing.assert_close(state, before, rtol=0, atol=0)
