"""Every engine that reads no whole J, on the families of gradients that solvers find hard."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mtlgrad import Method
from mtlgrad.engines.base import Engine
from mtlgrad.engines.in_blocks import InBlocks
from mtlgrad.engines.layerwise import Layerwise
from mtlgrad.engines.per_task import PerTask
from mtlgrad.testing import jacobians
from tests.engines.comparing import METHODS, TASKS, balancer, kernels_for_nothing, worth_it_for_small_layers


class Split(nn.Module):
    """Loss i is row i of J times all parameters, which are those of three linear layers: its gradient is row i."""

    def __init__(self, J: Tensor) -> None:
        super().__init__()
        self.J = J
        self.pieces = [piece for piece in J.tensor_split(3, dim=1) if piece.shape[1]]
        self.layers = nn.ModuleList(nn.Linear(piece.shape[1], 1, bias=False, dtype=J.dtype) for piece in self.pieces)

    def losses(self) -> dict[str, Tensor]:
        outputs = torch.stack([layer(x).squeeze(1) for layer, x in zip(self.layers, self.pieces, strict=True)]).sum(0)
        above = 1 + 2 * outputs.detach().abs()  # some methods take logarithms of losses
        return {str(i): one for i, one in enumerate(outputs + above)}

    def gradient(self) -> Tensor:
        found = torch.cat([p.grad.flatten() for p in self.parameters()])
        self.zero_grad()
        return found


@pytest.mark.parametrize(("name", "m"), TASKS)
def test_the_update_is_that_of_one_pass_a_task(name: str, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same Gramian, and the direction is the decision's weights times J; the same direction, where rounding cannot
    change the decision.

    Of nearly opposite gradients some methods decide by what is left of their sum, a ten-thousandth of them: two
    Gramians that are the same to rounding then give weights that differ by far more, and only the first two hold."""
    worth_it_for_small_layers(monkeypatch)
    for family, J in jacobians(m).items():
        model = Split(J.double())
        wanted = update(PerTask, METHODS[name], model)
        same_update(model, family, wanted, update(InBlocks, METHODS[name], model))
        same_update(model, family, wanted, update(Layerwise, METHODS[name], model))
        with monkeypatch.context() as patch:
            kernels_for_nothing(patch)
            same_update(model, family, wanted, update(Layerwise, METHODS[name], model))


def update(engine: type[Engine], method: Method, model: Split) -> tuple[Tensor, Tensor, Tensor]:
    """G, weights and direction."""
    step = balancer(engine, method, model).backward(model.losses())
    assert step.gram is not None
    assert step.weights is not None
    return step.gram, step.weights.double(), model.gradient()


def same_update(model: Split, family: str, wanted: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> None:
    def assert_close(a: Tensor, b: Tensor, atol: float) -> None:
        torch.testing.assert_close(a, b, rtol=1e-10, atol=atol, msg=lambda text: f"{family}: {text}")

    size = float(model.J.norm(dim=1).max())
    for _, weights, d in (wanted, got):
        assert_close(d, weights @ model.J, 1e-10 * size * max(1.0, float(weights.abs().sum())))
    assert_close(got[0], wanted[0], 1e-12 * size**2)
    if family != "near opposite":
        assert_close(got[2], wanted[2], 1e-10 * size)
