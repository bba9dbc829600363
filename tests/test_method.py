"""Hyperparameters, whatever library their numbers come from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from mtlgrad import (
    AGEM,
    MGDA,
    AlignedMTL,
    Balancer,
    CAGrad,
    Every,
    Fixed,
    GHPlusPlus,
    NegatedGradient,
    Scalarizer,
    Traits,
)
from mtlgrad.method import Method


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (CAGrad(c=np.float32(0.5)), CAGrad(c=0.5)),
        (CAGrad(c=np.float64(0.25)), CAGrad(c=0.25)),
        (CAGrad(c=Fraction(1, 4)), CAGrad(c=0.25)),
        (GHPlusPlus(lam=np.float16(0.25)), GHPlusPlus(lam=0.25)),
        (Every(k=np.int64(3), inner=MGDA()), Every(k=3, inner=MGDA())),
        (AGEM(main=np.uint8(1)), AGEM(main=1)),
        (NegatedGradient(task=np.int32(1)), NegatedGradient(task=1)),
        (Fixed(weights=[np.float32(0.5), np.int64(2)]), Fixed(weights=(0.5, 2))),
        (AlignedMTL(preference=(np.float32(1), 2.0)), AlignedMTL(preference=(1.0, 2.0))),
    ],
    ids=lambda m: m.name,
)
def test_other_libraries_numbers_become_pythons(given: Method, plain: Method) -> None:
    assert given == plain
    assert given.name == plain.name
    assert json.dumps(asdict(given)) == json.dumps(asdict(plain))  # type: ignore[call-overload]


def test_a_member_without_checks_of_its_own() -> None:
    @dataclass(frozen=True)
    class Scaled(Scalarizer):
        traits = Traits()
        by: float = 1.0

        def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
            return torch.full_like(losses, self.by)

    assert type(Scaled(np.float32(0.5)).by) is float


@pytest.mark.parametrize("value", [True, np.bool_(True), "1", None, np.ones(2), torch.tensor(0.5), 1j])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="c must be a number >= 0, got"):
        CAGrad(c=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, np.bool_(True), 2.0, np.float64(2), "2", 0, np.int64(0)])
def test_what_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="k must be an int >= 1, got"):
        Every(k=value, inner=MGDA())  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.float32("nan"), np.float64("inf"), np.float32(-1)])
def test_numbers_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="c must be a number >= 0, got"):
        CAGrad(c=value)


def test_the_balancers_own_numbers() -> None:
    w = torch.ones(2, requires_grad=True)
    balancer = Balancer(Fixed((1.0, 1.0)), [w], diagnose_every=np.int64(2))
    assert balancer.backward({"a": w.sum(), "b": w.sum()}).gram is not None
