"""Verdicts in words: the first line of a report, a sentence for each row, what to run for more, what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from mtlgrad.compare.metrics import rounded
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import Row
from mtlgrad.compare.statistics import Verdict, Word

NAMED = 4
"""So many names a sentence lists before it counts the rest."""
FEW = 5
"""With fewer seeds than this the normality that a t-test supposes cannot be seen at all."""


def verdicts_of(results: Results) -> list[Verdict]:
    """All that were asked, arm by arm."""
    return [one for arm in results.arms for row in results.rows[arm.name] for one in row.verdicts.values()]


def headline(results: Results) -> str:
    """The whole comparison in one line."""
    found = verdicts_of(results)
    if not found:
        return f"Nothing is compared with {results.suite.baseline} yet: no other method has runs beside it."
    counts = _count(len(found), "comparison")
    asked = f"{counts} with {results.suite.baseline}, {_seeds(found)}"
    by_word = {word: [one for one in found if one.word == word] for word in WORDS}
    undecided = len(by_word["undecided"])
    if undecided == len(found):
        return f"Undecided: {asked}, and not one shows a method better, worse or equivalent."
    parts = [
        f"{WORDS[word].format(baseline=results.suite.baseline)}: {_names(results, by_word[word])}"
        for word in ("better", "worse", "equivalent")
        if by_word[word]
    ]
    if not by_word["better"]:
        parts.insert(0, f"No method is better than {results.suite.baseline}")
    rest = f"Undecided: {undecided} of {asked}" if undecided else f"All decided: {asked}"
    return ". ".join([*parts, rest]) + "."


WORDS: dict[Word, str] = {
    "better": "Better than {baseline}",
    "worse": "Worse",
    "equivalent": "Equivalent within the margin",
    "undecided": "Undecided",
}


def sentence(results: Results, row: Row) -> str:
    """What can be said of one row in one arm; empty for rows that nothing was asked about."""
    parts = [_clause(results, one) for one in row.verdicts.values()]
    return f"{row.label}: {'; '.join(parts)}." if parts else ""


def _clause(results: Results, verdict: Verdict) -> str:
    word = verdict.word
    if verdict.word == "equivalent" and verdict.margin is not None:
        word = f"equivalent within {verdict.margin:g}"  # type: ignore[assignment]
    metric = results.metrics[verdict.metric]
    where = f" on {verdict.metric}" if len(results.metrics) > 1 else ""
    pairs = verdict.pairs
    notes = [verdict.reason] if verdict.reason else []
    if verdict.seeds_to_decide is not None:
        notes.append(f"about {verdict.seeds_to_decide} seeds would decide it")
    against = "" if verdict.baseline == results.suite.baseline else f" against {verdict.baseline}"
    number = ""
    if pairs.mean is not None:
        number = f", {difference_text(verdict)}{f' {metric.unit}' if metric.unit else ''}"
        if not where:
            number += f" {verdict.metric}"
    told = f" ({'; '.join(notes)})" if notes else ""
    return f"{word}{where}{against}{number}{told}"


def difference_text(verdict: Verdict) -> str:
    """The mean difference with its interval, to the digits that the interval supports."""
    pairs = verdict.pairs
    interval = pairs.interval()
    if pairs.mean is None:
        return "\N{EN DASH}"
    if interval is None:
        return rounded(pairs.mean, None, signed=True)
    half = (interval[1] - interval[0]) / 2
    low, high = (rounded(end, half, signed=True) for end in interval)
    return f"{rounded(pairs.mean, half, signed=True)} [{low}, {high}]"


def more(results: Results) -> list[str]:
    """What to run, or to declare, for more to be decided."""
    undecided = [one for one in verdicts_of(results) if one.word == "undecided"]
    if not undecided:
        return []
    texts = []
    known = sorted(one.seeds_to_decide for one in undecided if one.seeds_to_decide is not None)
    if known:
        few = _fewest(undecided) <= 3
        half, most = math.ceil(median(known)), known[math.ceil(0.9 * len(known)) - 1]
        numbers = f"{half}" if half == most else f"{half} for half of them, {most} for nine in ten"
        texts.append(
            f"At the spread seen so far, {len(known)} of the {len(undecided)} undecided would take this many seeds to "
            f"be decided with 80 % probability: {numbers}. Run more with `--seeds {max(half, FEW)}`; what is there is "
            "kept." + (" So few seeds say little about a spread: the number is rough." if few else "")
        )
    elif _fewest(undecided) < FEW:
        texts.append(
            f"{_count(_fewest(undecided), 'seed')} of these show no spread and decide nothing: run at least {FEW} with "
            f"`--seeds {FEW}`; what is there is kept."
        )
    without = [name for name, metric in results.metrics.items() if metric.margin is None]
    if without:
        direction = results.metrics[without[0]].direction
        texts.append(
            f"No margin is declared for {_listed(without)}, so nothing can be called equivalent. Say which difference "
            f'matters, in the suite\'s `[metrics]`: `"{without[0]}" = {{ direction = "{direction}", margin = ... }}`.'
        )
    return texts


def limitations(results: Results) -> list[str]:
    """What this comparison cannot tell, from what it did not do."""
    suite, found = results.suite, verdicts_of(results)
    texts = [
        "It speaks of the problems, the budgets and the versions that were run, and of no others"
        + (": one arm is one case." if len(results.arms) == 1 else ".")
    ]
    if found and _fewest(found) < FEW:
        texts.append(
            f"With {_count(_fewest(found), 'seed')} the t-test takes it on trust that differences are "
            "roughly normal; they cannot show it."
        )
    if suite.tuning is None:
        texts.append(
            "Nothing was tuned: one learning rate and the default hyperparameters serve every method. A method may "
            "lead only because they suit it."
        )
    missing = [text for name, text in SETTLED.items() if name not in suite.controls]
    if missing:
        texts.append(f"It has no control for: {'; '.join(missing)}.")
    if not any(run.metrics and run.metrics.final_validation is not None for run in results.runs):
        texts.append("The problem gives no validation score, so no step or hyperparameter could be chosen fairly.")
    if results.several_codes:
        texts.append("Its runs come from more than one version of the code.")
    if any(run.jobs > 1 for run in results.runs):
        texts.append("Runs shared the machine: step times are rough.")
    return texts


SETTLED = {
    "tuned weights": "whether well-chosen fixed weights do as well",
    "single task": "whether the tasks are better trained apart",
    "random weights": "whether weights drawn at random do as well",
    "frozen": "whether a method's average weights, held fixed, do as well",
    "noise floor": "how far rounding alone moves a result",
    "equal time": "who leads at equal wall-clock time",
}
"""What each control of a suite settles."""


def _seeds(found: Sequence[Verdict]) -> str:
    fewest, most = _fewest(found), max(one.pairs.n for one in found)
    return _count(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _fewest(found: Sequence[Verdict]) -> int:
    return min(one.pairs.n for one in found)


def _names(results: Results, found: Sequence[Verdict]) -> str:
    """Methods, with the metric and the arm where there are several."""
    names = []
    for one in found:
        where = [one.metric] if len(results.metrics) > 1 else []
        where += [one.arm] if len(results.arms) > 1 else []
        names.append(f"{one.method} ({', '.join(where)})" if where else one.method)
    return _listed(names if len(names) <= NAMED + 1 else [*names[:NAMED], f"{len(names) - NAMED} more"])


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
