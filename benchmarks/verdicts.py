"""How often verdicts err, and how often they find what is there: simulated comparisons, judged like real ones."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy import stats

from mtlgrad.compare.statistics.significance import difference_power, seeds_for_difference, seeds_for_equivalence
from mtlgrad.compare.statistics.verdicts import LEVEL, POWER, Verdict, judge

HELP = "how often verdicts err, and how often they find what is there, on simulated comparisons"
OUT = Path(__file__).parent / "results" / "verdicts"

Noise = Literal["normal", "heavy", "skewed"]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """One kind of comparison: `methods` methods beside the baseline, on `seeds` seeds.

    Scores are a part that everybody shares on a seed plus a part of their own, `correlation` being the share of the
    variance that is common: pairing takes it out. Of the own parts of the methods, but not of the baseline's, the share
    `kinship` of the variance is common to all: methods that do nearly the same. The spread of a paired difference is 1.
    `effect` is the true difference of the first `different` methods, and of no other.
    """

    methods: int
    seeds: int
    correlation: float = 0.5
    kinship: float = 0.0
    noise: Noise = "normal"
    effect: float = 0.0
    different: int = 0
    margin: float | None = None

    def draw(self, random: np.random.Generator) -> pd.DataFrame:
        """The runs of one comparison."""
        own = self._noise(random, (self.methods + 1, self.seeds))
        kin = self._noise(random, (1, self.seeds))
        own[1:] = math.sqrt(1 - self.kinship) * own[1:] + math.sqrt(self.kinship) * kin
        own /= math.sqrt(2)  # differences have spread 1
        shared = self._noise(random, (1, self.seeds)) * math.sqrt(self.correlation / (1 - self.correlation) / 2)
        scores = own + shared
        scores[1 : 1 + self.different] += self.effect
        names = ["baseline", *(f"method {k}" for k in range(1, self.methods + 1))]
        return pd.DataFrame(
            {"method": np.repeat(names, self.seeds), "seed": [*range(self.seeds)] * len(names), "score": scores.ravel()}
        )

    def _noise(self, random: np.random.Generator, shape: tuple[int, int]) -> Array:
        """Of mean 0 and variance 1."""
        if self.noise == "heavy":
            return random.standard_t(4, shape) / math.sqrt(2)
        return random.exponential(1.0, shape) - 1.0 if self.noise == "skewed" else random.normal(size=shape)


@dataclass(frozen=True)
class Outcome:
    """Shares of the simulated comparisons, with the 95 % interval (Clopper and Pearson) of the one asked for."""

    setting: Setting
    what: str
    share: float
    low: float
    high: float
    bound: str
    """What was promised of the share."""
    held: bool
    """Whether the promise lies within simulation error."""


def simulate(setting: Setting, *, comparisons: int, seed: int) -> list[list[Verdict]]:
    """The verdicts of so many simulated comparisons."""
    random = np.random.default_rng(seed)
    margins = {} if setting.margin is None else {"score": setting.margin}
    return [
        judge(setting.draw(random), baseline="baseline", metrics={"score": "max"}, margins=margins)
        for _ in range(comparisons)
    ]


def false_alarms(setting: Setting, *, comparisons: int, seed: int = 0) -> Outcome:
    """The share of comparisons in which anything that does not differ is called better or worse."""
    found = simulate(setting, comparisons=comparisons, seed=seed)
    wrong = [any(one.word in ("better", "worse") for one in family[setting.different :]) for family in found]
    return _at_most("an equal method called better or worse", setting, wrong, LEVEL)


def false_equivalence(setting: Setting, *, comparisons: int, seed: int = 0) -> Outcome:
    """The share of comparisons in which anything that differs by the margin is called equivalent."""
    found = simulate(setting, comparisons=comparisons, seed=seed)
    wrong = [any(one.word == "equivalent" for one in family[: setting.different]) for family in found]
    return _at_most("a method that differs by the margin called equivalent", setting, wrong, LEVEL)


def finds(setting: Setting, *, comparisons: int, seed: int = 0) -> Outcome:
    """The share of comparisons in which the first method, which is better by `effect`, is called better."""
    found = simulate(setting, comparisons=comparisons, seed=seed)
    promised = difference_power(setting.effect, setting.seeds, level=LEVEL / setting.methods)
    return _at_least("a better method called better", setting, [one[0].word == "better" for one in found], promised)


def finds_equivalence(setting: Setting, *, comparisons: int, seed: int = 0) -> Outcome:
    """The share of comparisons in which the first method, which is equal, is called equivalent."""
    found = simulate(setting, comparisons=comparisons, seed=seed)
    right = [family[0].word == "equivalent" for family in found]
    return _at_least("an equal method called equivalent", setting, right, POWER)


def _at_most(what: str, setting: Setting, hits: Sequence[bool], bound: float) -> Outcome:
    share, low, high = _share(hits)
    return Outcome(setting, what, share, low, high, f"at most {bound:.3f}", held=low <= bound)


def _at_least(what: str, setting: Setting, hits: Sequence[bool], bound: float) -> Outcome:
    share, low, high = _share(hits)
    return Outcome(setting, what, share, low, high, f"at least {bound:.3f}", held=high >= bound)


def _share(hits: Sequence[bool]) -> tuple[float, float, float]:
    count, n = sum(hits), len(hits)
    interval = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    return count / n, float(interval.low), float(interval.high)


def outcomes(comparisons: int) -> list[Outcome]:
    """Everything that is promised, in the settings people run."""
    nothing_differs = (
        Setting(1, 5),
        Setting(10, 2),
        Setting(10, 5, correlation=0.0),
        Setting(10, 5),
        Setting(10, 5, correlation=0.9, kinship=0.5),
        Setting(10, 5, correlation=0.9, kinship=0.95),
        Setting(10, 10),
        Setting(30, 5),
        Setting(10, 5, noise="heavy"),
        Setting(10, 5, noise="skewed"),
    )
    found = [false_alarms(setting, comparisons=comparisons) for setting in nothing_differs]
    # half of the methods differ: those that do not are no easier to mistake
    found.append(false_alarms(Setting(10, 10, effect=3.0, different=5), comparisons=comparisons))
    found.append(false_equivalence(Setting(10, 10, effect=1.0, different=10, margin=1.0), comparisons=comparisons))
    found.append(false_equivalence(Setting(10, 10, effect=1.0, different=5, margin=1.0), comparisons=comparisons))
    for methods in (1, 5, 10):
        level = LEVEL / methods
        needed = seeds_for_difference(1.0, level=level)
        equal = seeds_for_equivalence(1.0, level=level)
        assert needed is not None
        assert equal is not None
        found.append(finds(Setting(methods, needed, effect=1.0, different=1), comparisons=comparisons))
        found.append(finds_equivalence(Setting(methods, equal, margin=1.0), comparisons=comparisons))
    found.append(finds(Setting(10, 5, effect=1.0, different=1), comparisons=comparisons))
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--comparisons", type=int, default=1_000, metavar="N", help="simulated (default: 1000)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where the figures go")


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 where a promise was not held."""
    found = outcomes(args.comparisons)
    console = Console(width=200)
    table = Table(*HEAD, box=None, header_style="dim")
    for one in found:
        table.add_row(*_cells(one))
    console.print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(one)) for one in found]
    summary = f'{{"comparisons": {args.comparisons}, "level": {LEVEL}, "outcomes": [\n' + ",\n".join(lines) + "\n]}\n"
    (args.out / "figures.json").write_text(summary, encoding="utf-8")
    (args.out / "table.md").write_text(_markdown(found, args.comparisons), encoding="utf-8")
    return 0 if all(one.held for one in found) else 1


HEAD = (
    "what",
    "methods",
    "seeds",
    "correlation",
    "noise",
    "differ",
    "by",
    "margin",
    "share [95 %]",
    "promised",
    "held",
)


def _cells(one: Outcome) -> list[str]:
    setting = one.setting
    return [
        one.what,
        str(setting.methods),
        str(setting.seeds),
        f"{setting.correlation:g}",
        f"{setting.kinship:g}",
        setting.noise,
        str(setting.different),
        f"{setting.effect:g}" if setting.different else "",
        "" if setting.margin is None else f"{setting.margin:g}",
        f"{one.share:.3f} [{one.low:.3f}, {one.high:.3f}]",
        one.bound,
        "yes" if one.held else "NO",
    ]


def _markdown(found: Sequence[Outcome], comparisons: int) -> str:
    rows = ["| " + " | ".join(cells) + " |" for cells in (HEAD, *map(_cells, found))]
    rule = "|" + "---|" * len(HEAD)
    return f"""# How often verdicts err, and what they find

{comparisons} simulated comparisons in every line, each judged by `mtlgrad.compare.statistics.judge` as a family: every
method against one baseline, paired by seed. Differences and margins are in units of the spread of a paired difference.
"correlation" is the share of a score's variance that everybody has in common on a seed, "kinship" the share of the rest
that the methods have in common and the baseline has not; one baseline for all correlates them besides.
"heavy" noise is Student's t with 4 degrees of freedom, "skewed" is exponential.
The numbers of seeds in the lines about finding are those which a report names for 80 %.

{chr(10).join([rows[0], rule, *rows[1:]])}

Made with `python -m benchmarks verdicts`.
"""
