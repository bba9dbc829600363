"""Gradient aggregators, one file per paper."""

from mtlgrad.aggregators.agem import AGEM
from mtlgrad.aggregators.aligned import AlignedMTL
from mtlgrad.aggregators.andmask import ANDMask
from mtlgrad.aggregators.base import (
    ElementwiseAggregator,
    GradientAggregator,
    GramAggregator,
    HarmonizingAggregator,
    JacobianAggregator,
    StatefulGramAggregator,
)
from mtlgrad.aggregators.cagrad import CAGrad
from mtlgrad.aggregators.capped import CappedMGDA
from mtlgrad.aggregators.conflict_free import ConFIG
from mtlgrad.aggregators.cr_mogm import CRMOGM
from mtlgrad.aggregators.dbmtl import DBMTL
from mtlgrad.aggregators.dibs import DiBSMTL
from mtlgrad.aggregators.dualproj import DualProj
from mtlgrad.aggregators.excessmtl import ExcessMTL
from mtlgrad.aggregators.fairgrad import FairGrad
from mtlgrad.aggregators.gh import GH
from mtlgrad.aggregators.ghpp import GHPlusPlus
from mtlgrad.aggregators.graddrop import ActivationGradDrop, GradDrop
from mtlgrad.aggregators.gradnorm import GradNorm
from mtlgrad.aggregators.gradvac import GradVac
from mtlgrad.aggregators.imgrad import IMGrad
from mtlgrad.aggregators.imtl import IMTLG
from mtlgrad.aggregators.krum import Krum
from mtlgrad.aggregators.lra import LRAnnealing
from mtlgrad.aggregators.mconfig import MConFIG
from mtlgrad.aggregators.mgda import MGDA
from mtlgrad.aggregators.moco import MoCo
from mtlgrad.aggregators.modo import MoDo
from mtlgrad.aggregators.nashmtl import NashMTL
from mtlgrad.aggregators.negated import NegatedGradient
from mtlgrad.aggregators.pcd import PCD
from mtlgrad.aggregators.pcgrad import PCGrad
from mtlgrad.aggregators.sdmgrad import SDMGrad
from mtlgrad.aggregators.trimmedmean import TrimmedMean
from mtlgrad.aggregators.upgrad import UPGrad
from mtlgrad.aggregators.wrappers import Ema, Every, Normalised

__all__ = [
    "PCD",
    "LRAnnealing",
    "IMGrad",
    "DiBSMTL",
    "CRMOGM",
    "CappedMGDA",
    "Ema",
    "Every",
    "Normalised",
    "TrimmedMean",
    "MoCo",
    "MConFIG",
    "ExcessMTL",
    "DBMTL",
    "ANDMask",
    "AGEM",
    "ActivationGradDrop",
    "AlignedMTL",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "ElementwiseAggregator",
    "FairGrad",
    "GH",
    "GHPlusPlus",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientAggregator",
    "GramAggregator",
    "HarmonizingAggregator",
    "IMTLG",
    "JacobianAggregator",
    "Krum",
    "MGDA",
    "MoDo",
    "NashMTL",
    "NegatedGradient",
    "PCGrad",
    "SDMGrad",
    "StatefulGramAggregator",
    "UPGrad",
]
