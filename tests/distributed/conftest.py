"""The processes are started once; every test reads from what they found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.distributed.ranks import on_ranks


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found, by case."""
    modules = ["tests.distributed.cases_catalog", "tests.distributed.cases_steps", "tests.distributed.cases_loop"]
    return on_ranks(tmp_path_factory.mktemp("ranks"), modules)
