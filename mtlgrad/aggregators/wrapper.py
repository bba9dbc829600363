"""What all Gramian methods share that are made of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator, StatefulGramAggregator
from mtlgrad.method import State
from mtlgrad.spaces import Space


class Wrapper(StatefulGramAggregator):
    """What wraps one `inner`; the inner's state is part of the wrapper's, its names prefixed."""

    inner: GramAggregator

    def _inner_init(self, m: int, device: torch.device | None) -> State:
        return prefixed(self.inner.init(m, device=device))

    def check_values(self, losses: Tensor) -> None:
        self.inner.check_values(losses)

    def _space(self, **mine: Space) -> Mapping[str, Space]:
        return {**mine, **prefixed(self.inner.search_space)}

    def _fell_back(self, gram: Tensor) -> Tensor:
        # Gradients divided by positive numbers keep their rank and their conflicts, which is what methods fall back on.
        return self.inner.fell_back(gram)


def check_inner(inner: object) -> None:
    if not isinstance(inner, GramAggregator):
        hint = f"; did you mean {inner.__name__}()?" if isinstance(inner, type) else ""
        raise TypeError(f"inner must be a GramAggregator, one that decides from G alone, got {inner!r}{hint}")


def prefixed(state: Mapping[str, Any]) -> dict[str, Any]:
    return {f"inner.{name}": value for name, value in state.items()}


def inner_state(state: State) -> State:
    return {name.removeprefix("inner."): value for name, value in state.items() if name.startswith("inner.")}
