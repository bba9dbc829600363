"""Layers that are never trained: what they make of images is kept, and nothing shows that it was."""

import pytest
import torch

from tasks.uda import fixed
from tasks.uda.backbones import FIXED
from tasks.uda.data import Domain, Split, normalize

CPU = torch.device("cpu")
LATE = "efficientnet_lite0_late"


def domain(seed: int = 0) -> Domain:
    draw = torch.Generator().manual_seed(seed)
    parts = [torch.randint(256, (n, 3, 32, 32), generator=draw, dtype=torch.uint8) for n in (3, 2, 1)]
    splits = [Split(part, torch.zeros(len(part), dtype=torch.long)) for part in parts]
    return Domain("drawn", *splits, classes=("one",))


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    fixed._maps.cache_clear()


def test_images_become_the_maps_of_the_fixed_layers() -> None:
    drawn = domain()
    behind = fixed.behind_fixed(LATE, {"source": drawn}, CPU)["source"]
    layers = FIXED[LATE](3, 32)
    for part in ("train", "validation", "test"):
        images, maps = getattr(drawn, part).images, getattr(behind, part).images
        torch.testing.assert_close(maps, layers(normalize(images)))
        assert not maps.requires_grad
    assert fixed.behind_fixed("efficientnet_lite0", {"source": drawn}, CPU)["source"] is drawn


def test_equal_images_in_new_tensors_pass_once_and_changed_ones_again() -> None:
    first = fixed.behind_fixed(LATE, {"source": domain()}, CPU)["source"].train.images
    again = domain()
    assert fixed.behind_fixed(LATE, {"source": again}, CPU)["source"].train.images is first
    again.train.images[0, 0, 0, 0] ^= 255
    changed = fixed.behind_fixed(LATE, {"source": again}, CPU)["source"].train.images
    assert not torch.equal(changed[0], first[0])
    torch.testing.assert_close(changed[1:], first[1:])


def test_draws_that_follow_do_not_tell_whether_the_maps_were_there() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        fixed.behind_fixed(LATE, {"source": domain()}, CPU)
        states.append(torch.rand(3))
    torch.testing.assert_close(*states, rtol=0, atol=0)
