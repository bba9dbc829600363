"""Every method reproduces its golden values."""

from __future__ import annotations

import pytest
import torch

from mtlgrad import catalog
from tests.reference.cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name}-{CASES.index(c)}")
def test_golden_value(case: Case) -> None:
    method = catalog.make(case.name, **case.arguments)
    J = torch.tensor(case.jacobian, dtype=torch.float64)
    losses = None if case.losses is None else torch.tensor(case.losses, dtype=torch.float64)
    more = {} if case.features is None else {"features": torch.tensor(case.features, dtype=torch.float64)}
    got = method(J, losses=losses, generator=torch.Generator().manual_seed(case.seed), **more)  # type: ignore[operator]
    wanted = torch.tensor(case.direction, dtype=torch.float64)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12, msg=lambda m: f"{case.provenance}\n{m}")
