"""Domains by name, split into training, validation and test parts, and the batches drawn from them."""

from tasks.uda.data.batches import Batches, normalize, together
from tasks.uda.data.checks import check_pair
from tasks.uda.data.domain import Domain, Split
from tasks.uda.data.photos import Photos
from tasks.uda.data.table import (
    BUILT_IN,
    DOMAINS,
    FROM_FOLDER,
    PROTOCOLS,
    TRAINED_ON,
    classes_of,
    image_shape,
    load_domain,
    load_pair,
)

CLASSES = 10
"""Of every domain of digits."""

__all__ = [
    "BUILT_IN",
    "CLASSES",
    "DOMAINS",
    "FROM_FOLDER",
    "PROTOCOLS",
    "TRAINED_ON",
    "Batches",
    "Domain",
    "Photos",
    "Split",
    "check_pair",
    "classes_of",
    "image_shape",
    "load_domain",
    "load_pair",
    "normalize",
    "together",
]
