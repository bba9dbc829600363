"""Statistics of a comparison: arrays and tables of scores in, verdicts out. It knows nothing of runs, files or pages.

- `verdicts`: `judge`, the place where a verdict is made, and what it may be wrong about.
- `pairs`: differences paired by seed; what diverged, failed and missing runs count.
- `moments`: mean and deviation, of which rounding is no part.
- `significance`: the tests, Holm's correction, and the power that seeds buy.
- `across`: one number over several metrics and arms: relative change, mean ranks.
- `aggregates`: interquartile mean, probability of improvement, performance profiles.
- `fronts`: trade-offs between metrics.
"""

from mtlgrad.compare.statistics.across import (
    Ranks,
    RelativeChange,
    block_ranks,
    mean_ranks,
    relative_change,
    without_gaps,
)
from mtlgrad.compare.statistics.aggregates import (
    Estimate,
    interquartile_mean,
    normalised,
    performance_profile,
    probability_of_improvement,
    profiles,
)
from mtlgrad.compare.statistics.fronts import hypervolume, non_dominated
from mtlgrad.compare.statistics.pairs import Direction, Pairs, pairs_of
from mtlgrad.compare.statistics.significance import holm
from mtlgrad.compare.statistics.verdicts import Verdict, Word, judge

__all__ = [
    "Direction",
    "Estimate",
    "Pairs",
    "Ranks",
    "RelativeChange",
    "Verdict",
    "Word",
    "block_ranks",
    "holm",
    "hypervolume",
    "interquartile_mean",
    "judge",
    "mean_ranks",
    "non_dominated",
    "normalised",
    "pairs_of",
    "performance_profile",
    "probability_of_improvement",
    "profiles",
    "relative_change",
    "without_gaps",
]
