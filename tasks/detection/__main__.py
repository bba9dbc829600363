"""What a detector is and costs: `python -m tasks.detection dssd321`."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from mtlgrad.compare import checks
from tasks.detection.config import CONFIGS, STAGES, Stage
from tasks.detection.decoding import decode
from tasks.detection.losses import detection_losses
from tasks.detection.models import Detector, build

LR, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4  # as published
OBJECTS = 3  # in each image of the made-up batch


def main(argv: Sequence[str] | None = None) -> int:
    """Build a detector, describe it, and measure one training step and one inference on noise.

    The exit code: 0, or 2 for a request that cannot be met, said in one line.
    """
    parser = argparse.ArgumentParser(prog="python -m tasks.detection", description="What a detector is and costs.")
    parser.add_argument("config", choices=CONFIGS, help="sizes of the detector")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images in the batch (default: 1)")
    parser.add_argument("--classes", type=int, default=20, metavar="C", help="without background (default: 20)")
    parser.add_argument("--weights", metavar="DIR", help="a ResNet saved by transformers (default: from scratch)")
    parser.add_argument("--stage", choices=STAGES, default="dssd", help="whose predictions (default: dssd)")
    args = parser.parse_args(argv)
    before = _peak()
    try:
        checks.integer("batch", args.batch, low=1)
        model = build(args.config, classes=args.classes, seed=0, weights=args.weights)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    describe(model, args.stage)
    measure(model, args.stage, args.batch)
    print(f"peak memory: {_peak():.2f} GB, {_peak() - before:.2f} GB of it since the start")
    return 0


def describe(model: Detector, stage: Stage) -> None:
    """Print parameters, maps and prior boxes."""
    shared, localisation, classification = (
        sum(parameter.numel() for parameter in parameters)
        for parameters in (
            model.shared_parameters(stage),
            model.localisation_parameters(stage),
            model.classification_parameters(stage),
        )
    )
    print(f"parameters: {sum(parameter.numel() for parameter in model.parameters()):,} in all; stage {stage} trains")
    print(f"  shared {shared:,}, localisation {localisation:,}, classification {classification:,}")
    print(f"maps from {model.config.size} pixels, and their prior boxes:")
    for prior in model.config.priors:
        print(f"  {prior.cells} x {prior.cells} x {prior.boxes} = {prior.cells**2 * prior.boxes:,}")
    print(f"  in all {len(model.priors):,}")


def measure(model: Detector, stage: Stage, batch: int) -> None:
    """Print the losses and the time of one training step, and the time of one inference, on noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, model.config.size, model.config.size, generator=generator)
    boxes, labels = zip(*(_objects(model.classes, generator) for _ in range(batch)), strict=True)
    trained = (
        model.shared_parameters(stage) + model.localisation_parameters(stage) + model.classification_parameters(stage)
    )
    optimizer = torch.optim.SGD(trained, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    start = time.perf_counter()
    offsets, logits = model(images, stage=stage)
    losses = detection_losses(offsets, logits, model.priors, boxes, labels)
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    seconds = time.perf_counter() - start
    values = ", ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
    print(f"training step of {batch}: {seconds:.2f} s ({values})")

    model.eval()
    start = time.perf_counter()
    with torch.no_grad():
        offsets, logits = model(images, stage=stage)
        found = decode(offsets, logits, model.priors)
    seconds = time.perf_counter() - start
    print(f"inference of {batch}: {seconds:.2f} s ({sum(len(some.scores) for some in found)} boxes found)")


def _objects(classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Boxes of a tenth to a half of the image, somewhere in it, and their labels."""
    sides = 0.1 + 0.4 * torch.rand(OBJECTS, 2, generator=generator)
    corners = (1 - sides) * torch.rand(OBJECTS, 2, generator=generator)
    return torch.cat([corners, corners + sides], dim=1), torch.randint(classes, (OBJECTS,), generator=generator)


def _peak() -> float:
    """The most memory that this process has held, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


if __name__ == "__main__":
    raise SystemExit(main())
