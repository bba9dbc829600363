"""The two parts of CSS as tensors, a validation part held out of training, and the batches drawn from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.retrieval.css import read_css
from tasks.retrieval.render import placed, render
from tasks.retrieval.scenes import SOURCES_PER_MODIFICATION, Part, generate

COUNTS = {
    "default": {"train": (600, 1600), "test": (100, 300)},
    "published": {"train": (1000, 6004), "test": (1000, 6019)},
}
"""Base scenes and modifications: 5,400 and 1,000 images by default, 19,012 and 19,057 as published."""

_HELD_OUT = 0.08  # of the training part's source images
_HOLD_OUT_SEED = 0  # the split is part of the protocol: the same in every run


def queries_by_rule(*, full: bool) -> int:
    """Queries of the training part by rule, those that are held out for validation included.

    >>> queries_by_rule(full=True)
    18012
    """
    return SOURCES_PER_MODIFICATION * COUNTS["published" if full else "default"]["train"][1]


@dataclass(frozen=True)
class Split:
    """Images and the queries among them.

    images: uint8 [N, 3, size, size]. scenes: int64 [N], equal where two images show the same scene. Per query:
    sources and targets, int64 [Q], rows of `images`; texts, Q strings.
    """

    images: Tensor
    scenes: Tensor
    sources: Tensor
    targets: Tensor
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def keep(self, queries: Tensor) -> Split:
        """The queries in these rows, with all images."""
        texts = tuple(self.texts[row] for row in queries.tolist())
        return Split(self.images, self.scenes, self.sources[queries], self.targets[queries], texts)

    def compact(self) -> Split:
        """Without the images that no query speaks of."""
        used, rows = torch.cat([self.sources, self.targets]).unique(return_inverse=True)
        return Split(self.images[used], self.scenes[used], rows[: len(self)], rows[len(self) :], self.texts)


@dataclass(frozen=True)
class Parts:
    """`train` is trained on, `validation` (same shape-colour pairs, other scenes) selects, `test` is reported."""

    train: Split
    validation: Split
    test: Split


@lru_cache(maxsize=2)
def load(*, size: int, seed: int, full: bool = False, data_dir: str | None = None, view: str = "2d") -> Parts:
    """CSS-2D by rule, or the published files.

    Parameters
    ----------
    size:
        Side of the images, pixels.
    seed:
        Of the rules; the published files do not depend on it.
    full:
        As many images and queries as published, in place of the default's.
    data_dir:
        A folder with the published files (see `tasks.retrieval.css`); None: CSS-2D by rule.
    view:
        Of the published files: "2d" or "3d".

    Raises
    ------
    ValueError, FileNotFoundError
        As `generate`, `render` and `read_css` have it.

    Examples
    --------
    >>> parts = load(size=16, seed=0)
    >>> len(parts.test.images), len(parts.test), parts.test.texts[0].split()[0] in ("add", "remove", "make")
    (1000, 900, True)
    """
    if data_dir is None:
        train, test = (_by_rule(part, size=size, seed=seed, full=full) for part in ("train", "test"))
    else:
        train, test = (_published(Path(data_dir), part, view=view, size=size) for part in ("train", "test"))
    kept, held = hold_out(train)
    return Parts(kept, held, test)


def hold_out(split: Split) -> tuple[Split, Split]:
    """Set the queries of some source images aside: what stays, and a validation part with a gallery of its own.

    Raises
    ------
    ValueError
        The queries have fewer than two source images.
    """
    sources = split.sources.unique()
    if len(sources) < 2:
        raise ValueError(f"the queries have {len(sources)} source images; allowed: at least 2")
    order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(_HOLD_OUT_SEED))
    held = torch.isin(split.sources, sources[order[: max(1, round(_HELD_OUT * len(sources)))]])
    return split.keep((~held).nonzero().flatten()), split.keep(held.nonzero().flatten()).compact()


def _by_rule(part: Part, *, size: int, seed: int, full: bool) -> Split:
    base, modifications = COUNTS["published" if full else "default"][part]
    css = generate(part, base=base, modifications=modifications, seed=seed)
    numbers = {scene: number for number, scene in enumerate(dict.fromkeys(css.scenes))}
    images = np.stack([render(placed(scene), size=size) for scene in css.scenes])
    labels = np.array([numbers[scene] for scene in css.scenes], dtype=np.int64)
    return _split(images, labels, [(query.source, query.text, query.target) for query in css.queries])


def _published(folder: Path, part: Part, *, view: str, size: int) -> Split:
    return _split(*read_css(folder, part, view=view, size=size))


def _split(images: np.ndarray, labels: np.ndarray, queries: Sequence[tuple[int, str, int]]) -> Split:
    sources, texts, targets = zip(*queries, strict=True)
    return Split(
        torch.from_numpy(images),
        torch.from_numpy(labels),
        torch.tensor(sources, dtype=torch.int64),
        torch.tensor(targets, dtype=torch.int64),
        tuple(texts),
    )


class Vocabulary:
    """Words to numbers: 0 fills up, 1 is any word not seen in training.

    >>> vocabulary = Vocabulary(["remove red circle", "add large red circle to top-left"])
    >>> len(vocabulary), vocabulary.encode(["remove yellow circle", "add"])
    (9, (tensor([[6, 1, 3],
            [2, 0, 0]]), tensor([3, 1])))
    """

    def __init__(self, texts: Iterable[str]) -> None:
        words = sorted({word for text in texts for word in _words(text)})
        self._numbers = {word: number for number, word in enumerate(words, start=2)}

    def __len__(self) -> int:
        return len(self._numbers) + 2

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Numbers, int64 [N, longest], and how many words each text has, int64 [N].

        Raises
        ------
        ValueError
            A text without words.
        """
        rows = [[self._numbers.get(word, 1) for word in _words(text)] for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        if not bool(lengths.all()):
            raise ValueError(f"texts holds {texts[int(lengths.argmin())]!r}; allowed: texts with at least one word")
        tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = torch.tensor(row)
        return tokens, lengths


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9-]+", text.lower())


@dataclass(frozen=True)
class Encoded:
    """A `Split` on a device, its texts as word numbers: `tokens`, int64 [Q, longest], with `lengths`, int64 [Q]."""

    images: Tensor
    scenes: Tensor
    sources: Tensor
    targets: Tensor
    tokens: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, split: Split, vocabulary: Vocabulary, device: torch.device) -> Encoded:
        parts = (split.images, split.scenes, split.sources, split.targets, *vocabulary.encode(split.texts))
        return cls(*(part.to(device) for part in parts))

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def wanted(self) -> Tensor:
        """The scene that each query asks for, int64 [Q]."""
        return self.scenes[self.targets]

    def pixels(self, rows: Tensor) -> Tensor:
        """Images in [0, 1], float32 [N, 3, S, S]."""
        return self.images[rows].float() / 255
