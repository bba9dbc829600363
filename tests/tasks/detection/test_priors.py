"""Prior boxes against a loop over map, row, column and box, and against the receptive fields of the network."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tasks.detection.config import CONFIGS, Config, PriorMap
from tasks.detection.priors import priors

# (cells, step, offset, low, high) as the published scripts have them
PUBLISHED = (
    (40, 8, 2.5, 32.1, 64.2),
    (20, 16, 2.5, 64.2, 121.98),
    (10, 32, 10.5, 121.98, 179.76),
    (5, 64, 26.5, 179.76, 237.54),
    (3, 64, 90.5, 237.54, 295.32),
    (1, 321, 160.5, 295.32, 353.1),
)


def by_loop(maps: tuple[tuple[float, ...], ...], size: int) -> list[list[float]]:
    boxes = []
    for cells, step, offset, low, high in maps:
        for row in range(int(cells)):
            for column in range(int(cells)):
                x, y = column * step + offset, row * step + offset
                ratios = (1.6, 1 / 1.6, 2, 1 / 2, 3, 1 / 3)
                squares = [(low, low), (math.sqrt(low * high), math.sqrt(low * high))]
                shapes = squares + [(low * math.sqrt(ratio), low / math.sqrt(ratio)) for ratio in ratios]
                boxes += [[x / size, y / size, width / size, height / size] for width, height in shapes]
    return boxes


def test_the_published_boxes() -> None:
    found = priors(CONFIGS["dssd321"])
    assert found.shape == (17_080, 4)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(by_loop(PUBLISHED, 321)))


def test_counts_per_map() -> None:
    assert [prior.cells**2 * prior.boxes for prior in CONFIGS["dssd321"].priors] == [12_800, 3_200, 800, 200, 72, 8]


def small_maps() -> tuple[tuple[float, ...], ...]:
    return tuple(
        (prior.cells, prior.step, prior.offset, prior.low, prior.high) for prior in CONFIGS["dssd-small"].priors
    )


def test_the_small_boxes() -> None:
    torch.testing.assert_close(priors(CONFIGS["dssd-small"]), torch.tensor(by_loop(small_maps(), 128)))


@pytest.mark.parametrize("name", CONFIGS)
def test_maps_follow_on_one_another(name: str) -> None:
    maps = CONFIGS[name].priors
    assert [prior.high for prior in maps[:-1]] == [prior.low for prior in maps[1:]]


def test_small_cells_cover_the_image_evenly() -> None:
    for cells, step, offset, _, _ in small_maps():
        assert cells * step == 128
        assert offset == step / 2


def test_a_box_of_the_scenes_rarely_lacks_a_prior() -> None:
    # squares of 18 to 77 pixels, anywhere within the image
    generator = torch.Generator().manual_seed(0)
    sides = torch.empty(2000, 1).uniform_(18, 77, generator=generator).expand(-1, 2) / 128
    low = (1 - sides) * torch.rand(2000, 2, generator=generator)
    found = priors(CONFIGS["dssd-small"])
    lower = torch.maximum(low[:, None], found[:, :2] - found[:, 2:] / 2)
    upper = torch.minimum((low + sides)[:, None], found[:, :2] + found[:, 2:] / 2)
    overlap = (upper - lower).clamp(min=0).prod(-1)
    union = sides.prod(-1)[:, None] + found[:, 2:].prod(-1) - overlap
    assert ((overlap / union).amax(dim=1) > 0.5).float().mean() > 0.97


def test_ratios_decide_the_number_of_boxes() -> None:
    few = PriorMap(16, 8.0, 4.0, 18.0, 32.0, ratios=(4.0,))
    config: Config = replace(CONFIGS["dssd-small"], priors=(few, *CONFIGS["dssd-small"].priors[1:]))
    boxes = priors(config)[: few.boxes] * 128
    assert boxes.tolist() == [[4, 4, 18, 18], [4, 4, 24, 24], [4, 4, 36, 9], [4, 4, 9, 36]]
