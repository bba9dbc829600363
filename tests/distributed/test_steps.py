"""Steps on two ranks against the same steps on one process with the whole batch, or against their definition."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import mtlgrad
from tests.distributed.cases_steps import AT_MAPS, METHODS, SEEN, Branches, Maps, grads, images, named, seen
from tests.distributed.problem import Tasks, batches, values

Found = list[dict[str, Any]]
KINDS = ["wrapped", "sharded"]


def alike(ranks: Found, case: str, key: str | None = None) -> Any:
    """What both ranks found, once it is the same bit for bit."""
    first, second = (found[case] if key is None else found[case][key] for found in ranks)
    assert not isinstance(first, str), first
    pairs = zip(first, second, strict=True) if isinstance(first, tuple) else [(first, second)]
    assert all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)
    return first


def alone(method: mtlgrad.Method, x: Tensor, **options: Any) -> tuple[Tasks, mtlgrad.StepRecord]:
    """One step on one process with the whole batch."""
    model = Tasks(3)
    record = mtlgrad.Balancer(method, shared=model.trunk, **options).backward(named(model(x)[0]))
    return model, record


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gh", "moco", "sum", "uw"])
def test_a_window_is_one_decision_about_all_of_it(ranks: Found, kind: str, name: str) -> None:
    found, losses = alike(ranks, "case_windows", f"{kind} {name}")
    model = Tasks(3)
    balancer = mtlgrad.Balancer(METHODS[name], shared=model.trunk)
    for k, x in enumerate(batches()[:3]):
        parts = {task: loss / 3 for task, loss in named(model(x)[0]).items() if loss is not None}
        if k < 2:
            balancer.accumulate(parts, of=3)
    record = balancer.backward(parts)
    close(found, grads(model))
    close(losses, record.losses)


def test_weights_may_multiply_whole_losses(ranks: Found) -> None:
    close(alike(ranks, "case_apply_loss"), grads(alone(mtlgrad.GH(), batches()[0], apply="loss")[0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gh", "moco"])
def test_groups_decide_on_their_own(ranks: Found, kind: str, name: str) -> None:
    found = alike(ranks, "case_groups", f"{kind} {name}")
    close(found, grads(alone(METHODS[name], batches()[0], groups="tensor")[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_reaches_gradients_and_no_decision(ranks: Found, kind: str) -> None:
    close(alike(ranks, "case_scaled", kind), grads(alone(mtlgrad.GH(), batches()[0])[0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(METHODS))
def test_what_is_not_finite_on_one_rank_is_so_on_all(ranks: Found, kind: str, name: str) -> None:
    finite, state_kept = alike(ranks, "case_not_finite_on_one_rank", f"{kind} {name}")
    assert not finite
    assert state_kept


@pytest.mark.parametrize("name", list(METHODS))
def test_a_task_that_is_absent_on_one_rank_has_the_mean_of_the_others(ranks: Found, name: str) -> None:
    found, losses = alike(ranks, "case_absent_on_one_rank", name)
    model, x = Tasks(3), batches()[0]
    whole, part = model(x)[0], model(x.chunk(2)[0])[0]
    balancer = mtlgrad.Balancer(METHODS[name], shared=model.trunk)
    record = balancer.backward(named([*whole[:2], part[2]]))
    close(found, grads(model))
    close(losses, record.losses)


def test_a_task_that_is_absent_on_all_is_left_out(ranks: Found) -> None:
    model = Tasks(3)
    losses = named(model(batches()[0])[0])
    losses["task 2"] = None
    mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk).backward(losses)
    close(alike(ranks, "case_absent_everywhere"), grads(model))


def test_parameters_that_one_rank_alone_uses(ranks: Found) -> None:
    found, untouched = alike(ranks, "case_unused")
    model = Branches()
    parts = [model(x, rank) for rank, x in enumerate(batches()[1].chunk(2))]
    losses = {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]}
    mtlgrad.Balancer(mtlgrad.GH(), shared=[model.common, model.branches]).backward(losses)
    close(found, grads(model))
    assert untouched == [False, False, False, False, True, True]  # nobody used the third branch


@pytest.mark.parametrize("kind", ["plain", *KINDS])
@pytest.mark.parametrize("at_maps", [False, True])
def test_channels_last_is_no_other_update(ranks: Found, kind: str, at_maps: bool) -> None:
    for name, method in (AT_MAPS if at_maps else SEEN).items():
        found = alike(ranks, "case_channels_last", f"{kind} {at_maps} {name}")
        model = Maps()
        close(found, seen(model, model, images(), method, at_maps=at_maps))


def test_gradients_that_were_there_stay(ranks: Found) -> None:
    close(alike(ranks, "case_gradients_already_there"), 1 + grads(alone(mtlgrad.GH(), batches()[0])[0]))


def test_measured_and_diagnosed_gramians_are_those_of_the_whole_batch(ranks: Found) -> None:
    wanted = alone(mtlgrad.GH(), batches()[0])[1].gram
    assert wanted is not None
    close(alike(ranks, "case_measured"), wanted)
    close(alike(ranks, "case_diagnosed"), wanted)


def test_mixed_precision_in_shards_trains_as_full_precision_does(ranks: Found) -> None:
    found, finite = alike(ranks, "case_mixed_precision")
    model = Tasks(3)
    start = values(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk)
    for x in batches():
        optimizer.zero_grad()
        balancer.backward(named(model(x)[0]))
        optimizer.step()
    moved, wanted = found - start, values(model) - start
    assert finite
    assert (moved - wanted).norm() < 0.05 * wanted.norm()  # bfloat16 has three digits


REFUSED = {
    "bad loss": (r"ValueError: losses\['task 1'\] does not require grad", "RuntimeError: another rank refused"),
    "order": ("RuntimeError: the ranks ask the Balancer for different things",) * 2,
    "private": ("ValueError: the ranks' losses lead to different private parameters",) * 2,
    "apart": ("ValueError: shared parameters differ between the ranks",) * 2,
    "absent in shards": ("ValueError: losses: tasks .2. .* are absent on some ranks only",) * 2,
    "mixed": ("ValueError: shared parameters must be sharded alike",) * 2,
    "measure in shards": ("ValueError: shared parameters are sharded",) * 2,
    "loss in shards": ("ValueError: no way to serve this call.*use apply='shared'",) * 2,
    "no sync": ("ValueError: no sharded parameter got a gradient: is gradient synchronisation off",) * 2,
    "afterwards": ("nothing",) * 2,
}


@pytest.mark.parametrize("name", list(REFUSED))
@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_wrong_is_told_on_all_ranks(ranks: Found, name: str, rank: int) -> None:
    pattern = REFUSED[name][rank]
    told = ranks[rank]["case_refused"][name]
    assert re.match(pattern, told, re.S), told
