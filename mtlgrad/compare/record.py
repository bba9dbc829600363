"""From what the training loop observed to what the file of a run holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtlgrad.compare.history import Decisions, Evaluation, History, Sample
from mtlgrad.compare.schema import Conflicts, CurvePoint, Metrics, MetricsAt, PhaseSamples, StepTime, Timeline


def observed(history: History) -> dict[str, Any]:
    """The fields of `schema.Run` that the loop's history decides."""
    final, best = history.final, history.best
    quartiles = history.step_ms_quartiles()
    return {
        "status": "ok" if history.status == "ok" else "diverged",
        "reason": history.reason,
        "metric": history.metric,
        "metrics": None if final is None else _metrics(final, best),
        "conflicts": Conflicts(
            before=history.conflict_share_before, after=history.conflict_share_after, measured=history.measured
        ),
        "step_ms": None
        if quartiles is None
        else StepTime(q25=quartiles[0], median=quartiles[1], q75=quartiles[2], steps=len(history.step_ms)),
        "skipped_updates": history.skipped,
        "curve": [
            CurvePoint(step=one.step, metrics=plain(one.metrics), validation=_number(one.validation_score))
            for one in history.curve
        ],
        "phases": {name: _samples(decisions) for name, decisions in history.decisions.items()},
    }


def nothing_observed() -> dict[str, Any]:
    """The same fields of a run that failed, status and reason aside."""
    return {
        "metric": "",
        "metrics": None,
        "conflicts": Conflicts(before=None, after=None, measured=0),
        "step_ms": None,
        "skipped_updates": 0,
        "curve": [],
        "phases": {},
    }


def _metrics(final: Evaluation, best: Evaluation | None) -> MetricsAt:
    return MetricsAt(
        final=plain(final.metrics),
        final_step=final.step,
        final_validation=_number(final.validation_score),
        best=None if best is None else plain(best.metrics),
        best_step=None if best is None else best.step,
        best_validation=None if best is None else _number(best.validation_score),
    )


def _samples(decisions: Decisions) -> PhaseSamples:
    samples, measured = decisions.samples, decisions.measured
    weights = [sample.weights for sample in samples if sample.weights is not None]
    return PhaseSamples(
        tasks=decisions.tasks,
        conflicts=Conflicts(
            before=decisions.conflicts_before / measured if measured else None,
            after=decisions.conflicts_after / measured if measured else None,
            measured=measured,
        ),
        decision=[sample.decision for sample in samples],
        inner_before=[sample.inner_before for sample in samples],
        inner_after=[sample.inner_after for sample in samples],
        cosine_before=[sample.cosine_before for sample in samples],
        cosine_after=[sample.cosine_after for sample in samples],
        weights_mean=np.mean(weights, axis=0).tolist() if weights else None,
        weights_std=np.std(weights, axis=0).tolist() if weights else None,
        timeline=_timeline(samples),
    )


STRETCHES = 24
"""As many columns as a small heat map shows."""


def _timeline(samples: Sequence[Sample]) -> Timeline | None:
    """None where there are no two tasks, or nothing was measured."""
    if not samples or not samples[0].cosines:
        return None
    parts = [part for part in np.array_split(np.arange(len(samples)), min(STRETCHES, len(samples))) if part.size]

    def means(values: list[list[float]]) -> list[list[float]]:
        return [np.mean([values[k] for k in part], axis=0).tolist() for part in parts]

    weights = [sample.weights for sample in samples if sample.weights is not None]
    opposed = [sample.sum_opposes for sample in samples if sample.sum_opposes is not None]
    return Timeline(
        decision=[float(np.mean([samples[k].decision for k in part])) for part in parts],
        cosines=means([sample.cosines for sample in samples]),
        weights=means(weights) if len(weights) == len(samples) else None,
        sum_opposed=sum(opposed) / len(opposed) if opposed else None,
    )


def _number(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None


def plain(metrics: Mapping[str, float]) -> Metrics:
    """For JSON, which has neither NaN nor infinity."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def ready(value: Any) -> Any:
    """For JSON: what it has no form for, such as a method or an infinite number, as its repr."""
    if isinstance(value, Mapping):
        return {str(key): ready(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [ready(one) for one in value]
    plain = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else repr(value)
