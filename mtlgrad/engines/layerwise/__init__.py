"""Layer-wise Gramians: `engine` is the way, `plan` decides by price, `gather` makes the passes, `products` counts."""

from mtlgrad.engines.layerwise.engine import Layerwise

__all__ = ["Layerwise"]
