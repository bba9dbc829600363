"""The composition against its formula, and the encoders' contracts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import ResNetConfig, ResNetModel

from tasks.retrieval.models import (
    ARCHITECTURES,
    SCALE,
    Form,
    MapComposition,
    TextEncoder,
    VectorComposition,
    build,
)


def randomized(module: torch.nn.Module) -> torch.nn.Module:
    """Batch norms with statistics and scales of their own, so that leaving one out shows; evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            for tensor in (part.weight.data, part.running_var, part.bias.data, part.running_mean):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def normalized(x: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
    shape = (1, -1, *(1,) * (x.ndim - 2))
    mean, var, weight, bias = (
        getattr(norm, name).reshape(shape) for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def test_vector_composition_is_the_formula() -> None:
    torch.manual_seed(0)
    module = randomized(VectorComposition(5))
    x, text = torch.randn(3, 5), torch.randn(3, 5)
    both = torch.cat([x, text], dim=1)
    gate = F.relu(normalized(both, module.gate[0])) @ module.gate[2].weight.T + module.gate[2].bias
    hidden = F.relu(normalized(both, module.residual[0])) @ module.residual[2].weight.T + module.residual[2].bias
    residual = F.relu(hidden) @ module.residual[4].weight.T + module.residual[4].bias
    expected = 1.0 * x / (1 + (-gate).exp()) + 10.0 * residual
    torch.testing.assert_close(module(x, text), expected)
    assert module.a.tolist() == [1.0, 10.0]
    assert module.a.requires_grad


def test_map_composition_is_the_formula() -> None:
    torch.manual_seed(0)
    module = randomized(MapComposition(4, 3))
    x, text = torch.randn(2, 4, 5, 5), torch.randn(2, 3)
    both = torch.cat([x, text[:, :, None, None].repeat(1, 1, 5, 5)], dim=1)

    def convolutions(parts: torch.nn.Sequential) -> torch.Tensor:
        hidden = F.relu(F.conv2d(normalized(both, parts[0]), parts[1].weight, parts[1].bias, padding=1))
        return F.conv2d(hidden, parts[3].weight, parts[3].bias, padding=1)

    expected = 1.0 * convolutions(module.gate).sigmoid() * x + 10.0 * convolutions(module.residual)
    torch.testing.assert_close(module(x, text), expected)
    assert module.gate[1].weight.shape == (7, 7, 3, 3)


@pytest.mark.parametrize("form", ["fc", "lastconv"])
def test_features_lie_on_a_sphere_and_every_parameter_learns(form: Form) -> None:
    model = build(words=12, seed=0, form=form)
    images = torch.rand(4, 3, 32, 32)
    text = model.text(torch.randint(12, (4, 6)), torch.tensor([6, 3, 1, 2]))
    composed, plain = model.compose(images, text), model.features(images)
    for features in (composed, plain):
        torch.testing.assert_close(features.norm(dim=1), torch.full((4,), SCALE))
    (composed[:, 0].sum() + plain[:, 1].sum() + composed.square().sum()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert silent == []


def test_padding_is_never_read() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(words=9, width=8, dropout=0.0)
    long = torch.tensor([[3, 4, 5, 0, 0]])
    other = torch.tensor([[3, 4, 5, 7, 8]])
    length = torch.tensor([3])
    torch.testing.assert_close(encoder(long, length), encoder(other, length))
    torch.testing.assert_close(encoder(long, length), encoder(long[:, :3], length))
    assert not torch.allclose(encoder(long, torch.tensor([2])), encoder(long, length))


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    one, again, other = (build(words=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [model.head[2].weight for model in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_published_sizes() -> None:
    model = build(words=30, seed=0, architecture="published", form="lastconv")
    # ResNet-18 without its classifier has 11,176,512 parameters
    assert sum(p.numel() for p in model.backbone.parameters()) == 11_176_512
    assert model.composition.gate[1].weight.shape == (1024, 1024, 3, 3)  # 512 channels and 512 of the text
    assert model.text.lstm.hidden_size == 512
    assert model.text.head[0].p == 0.1
    assert ARCHITECTURES["published"].grid == 1


def test_weights_from_a_folder(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    saved = ResNetModel(config)
    saved.save_pretrained(tmp_path)
    model = build(words=5, seed=0, weights=str(tmp_path))
    for name, value in saved.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
    assert model.training
    assert model.backbone.training
    assert model.features(torch.rand(2, 3, 32, 32)).shape == (2, ARCHITECTURES["small"].width)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"architecture='large' is unknown; allowed: \('small', 'published'\)"):
        build(words=5, seed=0, architecture="large")
    with pytest.raises(ValueError, match="form='conv' is unknown; allowed"):
        build(words=5, seed=0, form="conv")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="no file named"):
        build(words=5, seed=0, weights=str(tmp_path))
