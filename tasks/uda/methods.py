"""One training iteration of each adaptation method, as the phases that it yields.

Phases are named after the steps of maximum classifier discrepancy (MCD: Saito et al., Maximum Classifier Discrepancy
for Unsupervised Domain Adaptation, CVPR 2018, section 3.3): generator G, classifiers C1 and C2, source batch s, target
batch t, CE the cross-entropy summed over C1 and C2, d the discrepancy of their probabilities times `Game.tradeoff`
(1 in the paper).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import classification, discrepancy


@dataclass(frozen=True)
class Batch:
    """A labelled source batch and an unlabelled target batch."""

    source: Tensor
    labels: Tensor
    target: Tensor


@dataclass(frozen=True)
class Players:
    """The networks of a run, each side with its own optimizer."""

    generator: nn.Module
    classifiers: nn.ModuleList
    generator_optimizer: torch.optim.Optimizer
    classifiers_optimizer: torch.optim.Optimizer

    def classify(self, features: Tensor) -> Sequence[Tensor]:
        return [classifier(features) for classifier in self.classifiers]


@dataclass(frozen=True)
class Game:
    """How the players meet: step C is repeated `generator_steps` times (MCD's k), d counts `tradeoff` times."""

    generator_steps: int
    tradeoff: float


Method = Callable[[Players, Batch, Game], Iterator[Phase]]


def source_only(players: Players, batch: Batch, game: Game) -> Iterator[Phase]:
    """Step A alone: min over G, C1, C2 of CE(s). The target is never looked at."""
    logits = players.classify(players.generator(batch.source))
    yield Phase(
        "A",
        {"classification": classification(logits, batch.labels)},
        (players.generator_optimizer, players.classifiers_optimizer),
    )


def mcd(players: Players, batch: Batch, game: Game) -> Iterator[Phase]:
    """MCD with its generator's conflict in the open (`variant="principled"`).

    - A: min over G, C1, C2 of CE(s).
    - B: min over C1, C2 of CE(s) - d(t).
    - C, `Game.generator_steps` times: over G, the pair *alignment* d(t) (task 1) and *classification* CE(s) (task 2).

    A and B are MCD's. MCD's C minimises d(t) alone, so that G serves its two tasks in turn, CE in A and d in C, and
    never weighs them against each other; here C holds both, with G's parameters as the shared ones and the classifiers
    untouched. With the plain sum as the method, C descends on d(t) + CE(s).
    """
    yield from source_only(players, batch, game)
    yield _oppose(players, batch, game)
    parameters = tuple(players.generator.parameters())
    for _ in range(game.generator_steps):
        logits_source, logits_target = _logits(players, batch)
        yield Phase(
            "C",
            {
                "alignment": game.tradeoff * discrepancy(logits_target),
                "classification": classification(logits_source, batch.labels),
            },
            (players.generator_optimizer,),
            shared=parameters,
        )


def mcd_released(players: Players, batch: Batch, game: Game) -> Iterator[Phase]:
    """MCD as the code released with the gradient-harmonization paper trains it (`variant="released"`).

    - A: min over G, C1, C2 of CE(s).
    - B: the pair *classification* CE(s) (task 1) and *discrepancy* -d(t) (task 2). Their gradients over G decide the
      two weights, which multiply whole losses; but only C1 and C2 are stepped.
    - C, `Game.generator_steps` times: min over G of d(t), alone.

    Against `mcd`: the pair's weights rescale the classifiers' objective and never reach G, whose update in C sees no
    source loss; task 1 and task 2 are the other way round, and task 2 is *minus* the discrepancy, so that a conflict
    over G here is an agreement there.
    """
    yield from source_only(players, batch, game)
    logits_source, logits_target = _logits(players, batch)
    yield Phase(
        "B",
        {
            "classification": classification(logits_source, batch.labels),
            "discrepancy": -game.tradeoff * discrepancy(logits_target),
        },
        (players.classifiers_optimizer,),
        shared=tuple(players.generator.parameters()),
        apply="loss",
    )
    for _ in range(game.generator_steps):
        logits_target = players.classify(players.generator(batch.target))
        yield Phase("C", {"alignment": game.tradeoff * discrepancy(logits_target)}, (players.generator_optimizer,))


def _logits(players: Players, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Logits of the source batch and of the target batch, which pass apart: batch norm mixes no domains in training."""
    return players.classify(players.generator(batch.source)), players.classify(players.generator(batch.target))


def _oppose(players: Players, batch: Batch, game: Game) -> Phase:
    """Step B: the classifiers drift apart on the target and stay right on the source."""
    with torch.no_grad():  # only the classifiers move
        features_source, features_target = players.generator(batch.source), players.generator(batch.target)
    kept = classification(players.classify(features_source), batch.labels)
    apart = discrepancy(players.classify(features_target))
    return Phase("B", {"adversarial": kept - game.tradeoff * apart}, (players.classifiers_optimizer,))
