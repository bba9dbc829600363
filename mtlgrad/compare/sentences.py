"""Verdicts in words: the first line of a report, a sentence for each row, what to run for more, what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from mtlgrad.compare.labels import NAMED, listed
from mtlgrad.compare.metrics import interval_text
from mtlgrad.compare.missing import unsettled, untuned_baseline
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import Row
from mtlgrad.compare.statistics import Verdict, Word

FEW = 5
"""With fewer seeds than this the normality that a t-test supposes cannot be seen at all."""


def verdicts_of(results: Results) -> list[Verdict]:
    """All that were asked, arm by arm."""
    return [one for arm in results.arms for row in results.rows[arm.name] for one in row.verdicts.values()]


def headline(results: Results) -> str:
    """The whole comparison in a few sentences: against the baseline, then what is judged against another row."""
    found, baseline = verdicts_of(results), results.suite.baseline
    if not found:
        untuned = untuned_baseline(results)
        return untuned or f"Nothing is compared with {baseline} yet: no other method has runs beside it."
    apart = [one for one in found if one.baseline != baseline]
    usual = [one for one in found if one.baseline == baseline]
    parts = [_against_baseline(results, usual) if usual else f"Nothing is compared with {baseline} itself"]
    if apart:
        parts += _against_others(results, apart)
    return ". ".join(parts) + "."


def _against_baseline(results: Results, found: Sequence[Verdict]) -> str:
    """Of the verdicts against the suite's baseline."""
    baseline = results.suite.baseline
    asked = f"{_count(len(found), 'comparison')} with {baseline}, {_seeds(found)}"
    by_word = {word: [one for one in found if one.word == word] for word in WORDS}
    undecided = len(by_word["undecided"])
    if undecided == len(found):
        return f"Undecided: {asked}, and not one shows a method better, worse or equivalent"
    parts = [
        f"{WORDS[word].format(baseline=baseline)}: {_names(results, by_word[word])}"
        for word in ("better", "worse", "equivalent")
        if by_word[word]
    ]
    if not by_word["better"]:
        parts.insert(0, f"No method is better than {baseline}")
    return ". ".join([*parts, _decided(undecided, asked)])


def _against_others(results: Results, found: Sequence[Verdict]) -> list[str]:
    """Of the verdicts against other rows, such as those of frozen twins: each names the row that it is against."""
    groups: dict[tuple[Word, str], list[Verdict]] = {}
    for word in ("better", "worse", "equivalent"):
        for one in found:
            if one.word == word:
                groups.setdefault((one.word, one.baseline), []).append(one)
    parts = []
    for (word, other), group in groups.items():
        within = " within the margin" if word == "equivalent" else ""
        phrase = AGAINST[word].format(other)
        parts.append(f"{phrase[0].upper()}{phrase[1:]}{within}: {_names(results, group)}")
    if len(parts) > NAMED + 1:
        parts = [*parts[:NAMED], f"{len(parts) - NAMED} more in the tables"]
    others = {one.baseline for one in found}
    asked = f"{_count(len(found), 'comparison')} with {others.pop() if len(others) == 1 else 'other rows'}"
    return [*parts, _decided(sum(one.word == "undecided" for one in found), f"{asked}, {_seeds(found)}")]


def _decided(undecided: int, asked: str) -> str:
    return f"Undecided: {undecided} of {asked}" if undecided else f"All decided: {asked}"


WORDS: dict[Word, str] = {
    "better": "Better than {baseline}",
    "worse": "Worse",
    "equivalent": "Equivalent within the margin",
    "undecided": "Undecided",
}
AGAINST: dict[Word, str] = {
    "better": "better than {}",
    "worse": "worse than {}",
    "equivalent": "equivalent to {}",
    "undecided": "undecided against {}",
}
"""The words with the row that they are against, where that is not the baseline."""


def word_of(results: Results, verdict: Verdict) -> str:
    """Its word, and against which row where that is not the baseline, so that the two are never confused."""
    other = verdict.baseline != results.suite.baseline
    return AGAINST[verdict.word].format(verdict.baseline) if other else verdict.word


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
    return interval_text(pairs.mean, *(interval or (None, None)))


def more(results: Results) -> list[str]:
    """What to run, to mend or to declare, for more to be decided."""
    undecided = [one for one in verdicts_of(results) if one.word == "undecided"]
    if not undecided:
        return []
    texts = []
    paired, unpaired = [one for one in undecided if one.pairs.n], [one for one in undecided if not one.pairs.n]
    if unpaired:
        texts.append(f"No finished pairs, and so nothing to judge: {_causes(results, unpaired)}.")
    known = sorted(one.seeds_to_decide for one in paired if one.seeds_to_decide is not None)
    if known:
        few = _fewest(paired) <= 3
        half, most = math.ceil(median(known)), known[math.ceil(0.9 * len(known)) - 1]
        numbers = f"{half}" if half == most else f"{half} for half of them, {most} for nine in ten"
        # where runs went wrong there are fewer pairs than seeds, and to ask for the seeds that are there is no advice
        seeds = max(half, FEW, 1 + min(_ran(results, one) for one in paired if one.seeds_to_decide is not None))
        texts.append(
            f"At the spread seen so far, {len(known)} of the {len(undecided)} undecided would take this many seeds to "
            f"be decided with 80 % probability: {numbers}. Run more with `--seeds {seeds}`; what is there is "
            "kept." + (" So few seeds say little about a spread: the number is rough." if few else "")
        )
    elif paired and _fewest(paired) < FEW:
        fewest = _fewest(paired)
        short = [one for one in paired if one.pairs.n < FEW <= _ran(results, one)]
        if short:
            pairs = _count(fewest, "finished pair")
            texts.append(f"{pairs} decide{'s' * (fewest == 1)} nothing: {_causes(results, short)}.")
        else:
            one = fewest == 1
            texts.append(
                f"{_count(fewest, 'seed')} of these show{'s' * one} no spread and decide{'s' * one} nothing: run at "
                f"least {FEW} with `--seeds {FEW}`; what is there is kept."
            )
    without = [name for name, metric in results.metrics.items() if metric.margin is None]
    if without:
        direction = results.metrics[without[0]].direction
        texts.append(
            f"No margin is declared for {listed(without)}, so nothing can be called equivalent. Say which difference "
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
    paired = [one for one in found if one.pairs.n]
    if paired and _fewest(paired) < FEW:
        texts.append(
            f"With {_count(_fewest(paired), 'seed')} the t-test takes it on trust that differences are "
            "roughly normal; they cannot show it."
        )
    if suite.tuning is None:
        texts.append(
            "Nothing was tuned: one learning rate and the default hyperparameters serve every method. A method may "
            "lead only because they suit it."
        )
    without = {*SETTLED} - {*suite.controls} | unsettled(results)
    if without:
        texts.append(f"It has no control for: {'; '.join(text for name, text in SETTLED.items() if name in without)}.")
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
    if most == 0:
        return "no finished pair"
    return _count(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _fewest(found: Sequence[Verdict]) -> int:
    return min(one.pairs.n for one in found)


def _row(results: Results, arm: str, label: str) -> Row | None:
    return next((row for row in results.rows[arm] if row.label == label), None)


def _ran(results: Results, verdict: Verdict) -> int:
    """On how many seeds the method was run, however that ended."""
    row = _row(results, verdict.arm, verdict.method)
    return 0 if row is None else sum(row.statuses.values())


def _causes(results: Results, found: Sequence[Verdict]) -> str:
    """Why comparisons have no or few finished pairs."""
    causes = list(dict.fromkeys(cause for one in found for cause in _causes_of(results, one)))
    return "; ".join(causes if len(causes) <= NAMED + 1 else [*causes[:NAMED], f"{len(causes) - NAMED} more such"])


def _causes_of(results: Results, verdict: Verdict) -> list[str]:
    where = f" ({verdict.arm})" if len(results.arms) > 1 else ""
    causes = []
    for label in (verdict.method, verdict.baseline):
        row = _row(results, verdict.arm, label)
        if row is None:
            causes.append(f"there is no run of {label}{where}")
            continue
        bad = [f"{status} on {count}" for status, count in sorted(row.statuses.items()) if status != "ok"]
        values = [
            run.metrics.final.get(verdict.metric)
            for run in results.runs
            if (run.arm, run.label, run.status) == (verdict.arm, row.selected or row.label, "ok") and run.metrics
        ]
        if bad:
            causes.append(f"{label} {' and '.join(bad)} of {sum(row.statuses.values())}{where}")
        elif all(value is None for value in values):
            causes.append(f"no run of {label} has a finite {verdict.metric}{where}")
    return causes or [f"{verdict.method} and {verdict.baseline} have no seed in common{where}"]


def _names(results: Results, found: Sequence[Verdict]) -> str:
    """Methods, with the metric and the arm where there are several."""
    names = []
    for one in found:
        where = [one.metric] if len(results.metrics) > 1 else []
        where += [one.arm] if len(results.arms) > 1 else []
        names.append(f"{one.method} ({', '.join(where)})" if where else one.method)
    return listed(names, most=NAMED)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
