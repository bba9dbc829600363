"""Every method in one line over all metrics and arms: the table "All together" of a report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtlgrad.compare.labels import alone
from mtlgrad.compare.metrics import interval_text
from mtlgrad.compare.results import Results
from mtlgrad.compare.scores import scores_of
from mtlgrad.compare.statistics import (
    Direction,
    Estimate,
    Ranks,
    RelativeChange,
    block_ranks,
    interquartile_mean,
    mean_ranks,
    normalised,
    probability_of_improvement,
    relative_change,
    without_gaps,
)
from mtlgrad.compare.suite import MethodRow

SINGLE = "single task"
"""The reference made of the single-task runs: on every metric the best that one task by itself reaches."""
NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Together:
    """The table, and the rule by which mean ranks are told apart."""

    reference: str
    headings: list[str]
    lines: list[list[str]]
    ranks: Ranks
    gaps: dict[str, int]
    """Methods without a rank, and how many results they lack."""

    @property
    def note(self) -> str:
        """What the columns are."""
        difference, p_value = self.ranks.critical_difference, self.ranks.friedman_p
        apart = (
            "" if difference is None else f"; those that differ by more than {difference:.2f} are told apart (Nemenyi)"
        )
        test = "" if p_value is None else f"; Friedman's p of no difference at all: {p_value:.2g}"
        return (
            f"Relative change: average over metrics and arms against {self.reference}, positive is better (Maninis et "
            f"al. 2019). Mean rank: over {self.ranks.blocks} pairs of arm and seed, 1 is best{apart}{test}. "
            "Interquartile mean: of scores from 0, the worst run of an arm, to 1, the best, with a stratified "
            "bootstrap. Beats the baseline: how often a run of the method is better than one of the baseline."
            + "".join(
                f" {method} has no result of {count} of its runs: it is left out of ranks, means and shares."
                for method, count in self.gaps.items()
            )
        )


def together(results: Results) -> Together | None:
    """None where there are no two methods to compare."""
    metrics = {name: metric.direction for name, metric in results.metrics.items()}
    scores = scores_of(results.rows, results.runs, results.metrics)
    rows = dict.fromkeys(row.label for found in results.rows.values() for row in found if row.role != "reference")
    baseline = results.suite.baseline
    if not metrics or len(rows) < 2 or baseline not in rows:
        return None
    single = _single_task(results)
    reference = baseline if single is None else SINGLE
    against = scores if single is None else pd.concat([scores, single], ignore_index=True)
    # how a method did on each metric, side by side: one column for each metric of each arm
    whole_rows, gaps = without_gaps(scores[scores["method"].isin(list(rows))], metrics)
    parts = [normalised(whole_rows, name, direction) for name, direction in metrics.items()]
    ranks = mean_ranks(block_ranks(whole_rows, metrics))
    lines = []
    for label in rows:
        values = [part[label] for part in parts if label in part]
        base = [part[baseline] for part in parts if baseline in part]
        whole = len(values) == len(parts)
        lines.append(
            [
                label,
                _change(_relative(against, label, reference, metrics)),
                NONE if label not in ranks.mean else f"{ranks.mean[label]:.2f}",
                _estimate(interquartile_mean(_columns(values))) if whole else NONE,
                _estimate(probability_of_improvement(_columns(values), _columns(base)))
                if whole and len(base) == len(parts) and label != baseline
                else NONE,
            ]
        )
    headings = ["method", f"relative change to {reference}, % [95 %]", "mean rank", "interquartile mean [95 %]"]
    return Together(reference, [*headings, f"beats {baseline} [95 %]"], lines, ranks, gaps)


def _columns(values: list[np.ndarray]) -> np.ndarray:
    """[seeds, metrics x arms], of the seeds that all have."""
    seeds = min(len(one) for one in values)
    return np.concatenate([one[:seeds] for one in values], axis=1)


def _relative(scores: pd.DataFrame, label: str, reference: str, metrics: dict[str, Direction]) -> RelativeChange | None:
    if label == reference:
        return None
    try:
        return relative_change(scores, label, reference, metrics)
    except ValueError:  # a reference that may be zero: relative to it there is no change
        return None


def _single_task(results: Results) -> pd.DataFrame | None:
    """The single-task runs that ended well as one reference; None where the suite has none, or an arm lacks them."""
    if SINGLE not in results.suite.controls:
        return None
    labels = [row.label for row in results.suite.methods if _is_single_task(row)]
    scores = scores_of(results.rows, results.runs, results.metrics, references=True)
    # what a run last measured before it diverged is nothing that one task by itself reaches
    alone = scores[scores["method"].isin(labels) & (scores["status"] == "ok")]
    if alone.empty or set(alone["arm"]) != {arm.name for arm in results.arms}:
        return None
    found = []
    for arm, part in alone.groupby("arm", sort=False):
        means = part.groupby("method")[list(results.metrics)].mean()
        best = {
            name: means[name].idxmax() if metric.direction == "max" else means[name].idxmin()
            for name, metric in results.metrics.items()
            if means[name].notna().any()
        }
        if len(best) < len(results.metrics):
            return None
        by_seed = {name: part[part["method"] == label].set_index("seed")[name] for name, label in best.items()}
        found.append(pd.DataFrame(by_seed).reset_index().assign(arm=arm, method=SINGLE, status="ok"))
    return pd.concat(found, ignore_index=True)


def _is_single_task(row: MethodRow) -> bool:
    """Whether the control made the row: a reference with all the weight on one task. A label alone says nothing."""
    weights = row.args.get("weights")
    one_hot = isinstance(weights, list) and sorted(weights) == [0.0] * (len(weights) - 1) + [1.0]
    return row.role == "reference" and row.label.startswith(alone("")) and one_hot


def _change(change: RelativeChange | None) -> str:
    if change is None:
        return NONE
    fewer = f" (n = {change.seeds})" if change.left_out else ""
    return interval_text(change.percent, change.low, change.high) + fewer


def _estimate(estimate: Estimate) -> str:
    ends = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{ends}"
