"""Parameters that are the model's no more, found though gradients of earlier steps are still in `.grad`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from mtlgrad import Balancer


def losses(trunk: nn.Module, heads: nn.ModuleList) -> dict[str, Tensor]:
    z = trunk(torch.ones(4, 3))
    return {str(k): head(z).square().mean() for k, head in enumerate(heads)}


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_parametrization_that_comes_later_is_found(zeroed: bool) -> None:
    torch.manual_seed(0)
    trunk, heads = nn.Linear(3, 2), nn.ModuleList(nn.Linear(2, 1) for _ in range(2))
    balancer = Balancer("gh", shared=trunk)
    balancer.backward(losses(trunk, heads))
    if zeroed:
        trunk.zero_grad()
    parametrizations.weight_norm(trunk)
    with pytest.raises(ValueError, match=r"shared\[\d\].*replaced.*Build the Balancer"):
        balancer.backward(losses(trunk, heads))


def test_the_hook_of_a_parameter_that_got_nothing_is_not_called() -> None:
    first, second, head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
    balancer = Balancer("gh", shared=[first, second])

    def both() -> dict[str, Tensor]:
        x = torch.ones(3, 2)
        return {"a": head(second(first(x))).mean(), "b": head(second(first(x))).square().mean()}

    balancer.backward(both())
    fired: list[str] = []
    for name, p in (("first", first.weight), ("second", second.weight)):
        p.register_post_accumulate_grad_hook(lambda _, name=name: fired.append(name))
    x = torch.ones(3, 2)
    balancer.backward({"a": head(first(x)).mean(), "b": head(first(x)).square().mean()})  # the gradients accumulate
    assert fired == ["first"]
