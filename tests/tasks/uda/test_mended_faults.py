"""Faults of released code: each is shown in `released` and shown to be absent from `principled`."""

from dataclasses import replace

import torch
from torch.autograd import grad

from tasks.uda.systems import Batch
from tasks.uda.systems.dwl import DWL
from tasks.uda.systems.ssrt import SSRT, falls, self_refinement
from tasks.uda.task import UDA
from tests.tasks.uda.test_systems import descend, live


def test_cdans_weights_are_numbers_and_were_a_way_for_gradients() -> None:
    for variant, leaks in (("principled", False), ("released", True)):
        task = live("cdan_e", variant)
        list(map(descend, task.step(0)))
        (phase,) = task.step(3)  # the coefficient has grown
        classifier = list(task.system.networks["classifier"].parameters())
        found = grad(phase.losses["alignment"], classifier, retain_graph=True, allow_unused=True)
        assert any(one is not None and bool(one.any()) for one in found) == leaks


def test_dwls_game_has_its_signs_right() -> None:
    """A discriminator that follows its loss tells the domains apart; the released one learns to score them alike."""
    told = {}
    for variant in ("principled", "released"):
        torch.manual_seed(0)
        system = live("dwl", variant).system
        assert isinstance(system, DWL)
        width = system.generator.width
        source, target = torch.randn(16, width) + 1, torch.randn(16, width) - 1
        optimizer = system.optimizers["discriminator"]

        def gap(system: DWL = system, source: torch.Tensor = source, target: torch.Tensor = target) -> float:
            scores = [system.discriminator(one).sigmoid().mean() for one in (source, target)]
            return (scores[0] - scores[1]).abs().item()

        for parameter in system.discriminator[-1].parameters():
            parameter.data.mul_(20)  # begin with scores that differ
        before = gap()
        for _ in range(100):
            optimizer.zero_grad()
            system.domain_loss(source, target).backward()
            optimizer.step()
        told[variant] = (before, gap())
    assert told["principled"][1] > 0.9
    assert told["released"][1] < 0.5 * told["released"][0]


def test_dwls_generator_is_against_its_discriminator() -> None:
    system = live("dwl").system
    assert isinstance(system, DWL)
    batch = batch_of(live("dwl"))
    phase = system.align(batch)
    source, target = system.both(system.generator, batch)
    loss = system.domain_loss(source, target)
    parameters = list(system.generator.parameters())
    up, down = (torch.cat([g.flatten() for g in grad(x, parameters)]) for x in (loss, phase.losses["alignment"]))
    torch.testing.assert_close(down, -system.balance * system.settings["domain"] * up, rtol=1e-3, atol=1e-6)


def test_dwls_entropy_teaches_and_was_dead() -> None:
    logits = torch.tensor([[0.3, 0.1, -0.2]], dtype=torch.float64, requires_grad=True)
    for variant in ("principled", "released"):
        system = live("dwl", variant).system
        assert isinstance(system, DWL)
        system.setting = replace(system.setting, classes=3)
        (found,) = grad(system.target_loss(logits), logits)
        p = logits.detach().softmax(dim=1)
        h = -(p * p.log()).sum()
        mu = ((-h).exp() - 1 / 3) / (1 - 1 / 3)
        label = torch.nn.functional.one_hot(p.argmax(dim=1), 3)
        of_cross_entropy, of_entropy = p - label, -p * (p.log() + h)  # dCE/dz and dH/dz, by hand
        expected = mu * of_cross_entropy + (1 - mu) * of_entropy * (variant == "principled")
        torch.testing.assert_close(found, expected)


def test_dwls_balance_leans_towards_what_lags() -> None:
    system = live("dwl").system
    assert isinstance(system, DWL)
    assert system.scaled("A", 3.0) == 0.5
    assert [system.scaled("A", value) for value in (4.0, 3.5, 1.0, 2.0)] == [1.0, 0.5, 0.0, 1 / 3]

    def balance(shift: float, spread: float) -> float:
        """T once domains `shift` apart, with classes of width `spread`, follow two ordinary batches."""
        torch.manual_seed(0)
        dwl = live("dwl").system
        assert isinstance(dwl, DWL)
        labels = torch.arange(40) % 10
        for apart, width in ((0.0, 0.1), (5.0, 10.0), (shift, spread)):
            f = torch.eye(10)[labels] * 10
            dwl.memory = [(f + width * torch.randn(40, 10), labels, f + width * torch.randn(40, 10) + apart, labels)]
            dwl.weigh()
        return dwl.balance

    aligned_but_mixed, apart_but_clean = balance(0.0, 10.0), balance(5.0, 0.1)
    assert aligned_but_mixed < 0.2 < 0.8 < apart_but_clean


def test_ssrts_snapshot_is_a_copy_and_was_an_alias() -> None:
    for variant, restores in (("principled", True), ("released", False)):
        task = live("ssrt", variant)
        system = task.system
        assert isinstance(system, SSRT)
        list(map(descend, task.step(0)))
        system.close_period(1)  # a safe period: a snapshot
        kept = {key: value.clone() for key, value in system.networks.state_dict().items()}
        list(map(descend, task.step(1)))
        moved = {key: value.clone() for key, value in system.networks.state_dict().items()}
        assert any(not torch.equal(kept[key], moved[key]) for key in kept)
        system.diversity = [10] * 8 + [5] * 8
        system.close_period(2)
        now = system.networks.state_dict()
        wanted = kept if restores else moved
        assert all(torch.equal(now[key], wanted[key]) for key in now)
        assert system.restored == [2]
        assert system.strength(2) == 0


def test_ssrts_ramp_doubles_when_it_falls_again_soon() -> None:
    system = live("ssrt", settings={"period": 16}).system
    assert isinstance(system, SSRT)
    assert system.strength(5) == 0  # adaptation begins here
    assert 0 < system.strength(6) < system.strength(13) < system.strength(21) == system.strength(99) == 1
    unsafe = [10] * 8 + [5] * 8
    for now, steps in ((16, 16), (32, 32), (200, 16)):
        system.diversity = list(unsafe)
        system.close_period(now)
        assert (system.restarted, system.ramp_steps) == (now, steps)


def test_diversity_falls_when_a_window_loses_more_than_a_class() -> None:
    assert falls([10] * 60 + [8] * 4)  # seen in the finest windows only
    assert not falls([10] * 60 + [9] * 4)
    assert not falls([3, 4, 5, 6, 7, 8, 9, 10] * 1)
    assert falls([7] * 16, before=8.5)
    assert not falls([7] * 16, before=7.5)


def test_self_refinement_is_a_divergence_of_the_sure_rows_from_a_constant() -> None:
    teacher = torch.tensor([[2.0, 0.0, 0.0], [0.1, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    student = torch.tensor([[0.0, 1.0, 0.0], [5.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    p, q = teacher.detach()[0].softmax(0), student.detach()[0].softmax(0)
    loss = self_refinement(teacher, student)  # the second row is not sure: .355
    torch.testing.assert_close(loss, (p * (p / q).log()).sum())
    found = grad(loss, (teacher, student), allow_unused=True)
    assert found[0] is None
    torch.testing.assert_close(found[1], torch.stack([q - p, torch.zeros(3, dtype=torch.float64)]))
    assert self_refinement(teacher[1:], student[1:]) == 0
    assert torch.autograd.gradcheck(lambda s: self_refinement(teacher, s), (student,))


def batch_of(task: UDA) -> Batch:
    images, labels = task._batches["source"].draw()
    return Batch(images, labels, task._batches["target"].draw()[0])
