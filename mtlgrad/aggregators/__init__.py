"""Gradient aggregators, one file per paper."""

from mtlgrad.aggregators.base import (
    ElementwiseAggregator,
    GradientAggregator,
    GramAggregator,
    HarmonizingAggregator,
    JacobianAggregator,
    StatefulGramAggregator,
)
from mtlgrad.aggregators.cagrad import CAGrad
from mtlgrad.aggregators.gh import GH
from mtlgrad.aggregators.ghpp import GHPlusPlus
from mtlgrad.aggregators.graddrop import GradDrop
from mtlgrad.aggregators.mgda import MGDA
from mtlgrad.aggregators.negated import NegatedGradient
from mtlgrad.aggregators.pcgrad import PCGrad

__all__ = [
    "CAGrad",
    "ElementwiseAggregator",
    "GH",
    "GHPlusPlus",
    "GradDrop",
    "GradientAggregator",
    "GramAggregator",
    "HarmonizingAggregator",
    "JacobianAggregator",
    "MGDA",
    "NegatedGradient",
    "PCGrad",
    "StatefulGramAggregator",
]
