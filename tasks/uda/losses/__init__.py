"""The losses of the systems, each a function of tensors alone."""

from tasks.uda.losses.adversarial import domain_confusion, reverse
from tasks.uda.losses.classifiers import classification, discrepancy, ensemble
from tasks.uda.losses.clusters import centroids, nearest
from tasks.uda.losses.information import certainty_weights, entropy, information
from tasks.uda.losses.margin import disagreement, margin_disparity
from tasks.uda.losses.multilinear import RandomMap, outer_product
from tasks.uda.losses.scatter import separability
from tasks.uda.losses.spectra import nuclear_norm, spectral_penalty, stepwise_norms
from tasks.uda.losses.statistics import Gaussian, kernel_mmd, linear_mmd, sliced_wasserstein

__all__ = [
    "Gaussian",
    "RandomMap",
    "centroids",
    "certainty_weights",
    "classification",
    "disagreement",
    "discrepancy",
    "domain_confusion",
    "ensemble",
    "entropy",
    "information",
    "kernel_mmd",
    "linear_mmd",
    "margin_disparity",
    "nearest",
    "nuclear_norm",
    "outer_product",
    "reverse",
    "separability",
    "sliced_wasserstein",
    "spectral_penalty",
    "stepwise_norms",
]
