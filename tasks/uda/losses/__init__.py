"""The losses of the systems, each a function of tensors alone."""

from tasks.uda.losses.adversarial import domain_confusion, reverse
from tasks.uda.losses.classifiers import classification, discrepancy, ensemble
from tasks.uda.losses.information import certainty_weights, entropy
from tasks.uda.losses.multilinear import RandomMap, outer_product
from tasks.uda.losses.scatter import separability
from tasks.uda.losses.statistics import linear_mmd

__all__ = [
    "RandomMap",
    "certainty_weights",
    "classification",
    "discrepancy",
    "domain_confusion",
    "ensemble",
    "entropy",
    "linear_mmd",
    "outer_product",
    "reverse",
    "separability",
]
