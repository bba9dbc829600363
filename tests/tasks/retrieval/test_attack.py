"""Attacks stay where they may go, climb, and leave the network as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.networks import evaluating
from tasks.retrieval.attack import gaussian, pgd
from tasks.retrieval.losses import batch_softmax
from tasks.retrieval.models import Tirg, build

ROUNDING = 1e-6  # of float32 sums of numbers up to 1


def query_loss(model: Tirg, targets: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(1)
    sources = torch.rand(6, 3, 16, 16, generator=generator)
    text = model.text(torch.arange(6)[:, None], torch.ones(6, dtype=torch.int64)).detach()
    wanted = model.features(targets).detach()
    return sources, lambda images: batch_softmax(model.compose(images, text), wanted)


@settings(deadline=None, max_examples=30)
@given(
    epsilon=st.floats(0, 1),
    steps=st.integers(0, 4),
    random_start=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_in_the_box_and_in_range(epsilon: float, steps: int, random_start: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # pixels at both ends of the range too
    images = (torch.rand(2, 3, 8, 8, generator=generator) * 1.4 - 0.2).clamp(0, 1)
    slope = torch.randn(2, 3, 8, 8, generator=generator)
    attacked = pgd(
        lambda x: (slope * x.square() + torch.sin(9 * x)).sum(),
        images,
        epsilon=epsilon,
        steps=steps,
        generator=generator if random_start else None,
    )
    assert not attacked.requires_grad
    assert float((attacked - images).abs().max()) <= epsilon + ROUNDING
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1
    if steps == 0 and not random_start:
        assert torch.equal(attacked, images)


def test_one_step_is_the_sign_of_the_gradient() -> None:
    images, slope = torch.full((1, 3, 2, 2), 0.5), torch.randn(1, 3, 2, 2)
    attacked = pgd(lambda x: (slope * x).sum(), images, epsilon=0.1, steps=1)
    torch.testing.assert_close(attacked, images + 0.1 * slope.sign())


def test_many_steps_reach_a_maximum_inside_and_one_at_the_edge() -> None:
    peak = torch.tensor([0.53, 0.9])  # within the box of 0.1 around 0.5, and beyond it
    attacked = pgd(lambda x: -(x - peak).square().sum(), torch.tensor([0.5, 0.5]), epsilon=0.1, steps=40)
    # a step is 2.5 * 0.1 / 40 long
    assert float((attacked[0] - 0.53).abs()) <= 0.00625 + ROUNDING
    assert float(attacked[1]) == pytest.approx(0.6)


@pytest.mark.parametrize("steps", [1, 5])
def test_an_attack_raises_the_retrieval_loss(steps: int) -> None:
    model = build(words=6, seed=0)
    targets = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with evaluating(model):
        sources, loss = query_loss(model, targets)
        attacked = pgd(loss, sources, epsilon=4 / 255, steps=steps)
        before, after = loss(sources).item(), loss(attacked).item()
    assert after > before


def test_an_attack_leaves_the_network_alone() -> None:
    model = build(words=6, seed=0)
    model.text.eval()  # a part that its owner has put into another mode stays in it
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: part.training for name, part in model.named_modules()}
    with evaluating(model):
        assert not any(part.training for part in model.modules())
        sources, loss = query_loss(model, torch.rand(6, 3, 16, 16))
        pgd(loss, sources, epsilon=0.1, steps=2)
    assert {name: part.training for name, part in model.named_modules()} == modes
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_gaussian_noise_has_its_deviation() -> None:
    images = torch.full((4, 3, 64, 64), 0.5)
    noisy = gaussian(images, deviation=0.1, generator=torch.Generator().manual_seed(0))
    assert float((noisy - images).std()) == pytest.approx(0.1, rel=0.02)
    assert float((noisy - images).mean()) == pytest.approx(0, abs=0.002)
    clipped = gaussian(images, deviation=3, generator=torch.Generator().manual_seed(0))
    assert 0 <= float(clipped.min()) <= float(clipped.max()) <= 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epsilon": -0.1}, "epsilon=-0.1 .*allowed: 0 to 1"),
        ({"epsilon": float("nan")}, "epsilon=nan .*allowed: 0 to 1"),
        ({"steps": -1}, "steps=-1 .*allowed"),
        ({"images": torch.tensor([1.5])}, "images has pixels from 1.5 to 1.5; allowed: 0 to 1"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    options = {"images": torch.tensor([0.5]), "epsilon": 0.1, "steps": 1, **changed}
    images = options.pop("images")
    with pytest.raises(ValueError, match=message):
        pgd(torch.sum, images, **options)  # type: ignore[arg-type]


def test_no_steps_leave_the_images_alone_whatever_the_start() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    start = torch.Generator().manual_seed(1)
    state = start.get_state()
    assert torch.equal(pgd(lambda x: x.sum(), images, epsilon=0.5, steps=0, generator=start), images)
    assert torch.equal(start.get_state(), state)
