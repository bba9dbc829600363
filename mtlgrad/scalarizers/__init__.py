"""Methods that read loss values only."""

from mtlgrad.scalarizers.base import Scalarizer, StatefulScalarizer
from mtlgrad.scalarizers.cosmos import COSMOS
from mtlgrad.scalarizers.dwa import DWA
from mtlgrad.scalarizers.dwl import DWL
from mtlgrad.scalarizers.famo import FAMO
from mtlgrad.scalarizers.fixed import Fixed, Mean, Sum
from mtlgrad.scalarizers.gls import GLS
from mtlgrad.scalarizers.igb import IGB
from mtlgrad.scalarizers.imtl_l import IMTLL
from mtlgrad.scalarizers.pbi import PBI
from mtlgrad.scalarizers.relobralo import ReLoBRaLo
from mtlgrad.scalarizers.rlw import RLW
from mtlgrad.scalarizers.si import SILS
from mtlgrad.scalarizers.softadapt import SoftAdapt
from mtlgrad.scalarizers.stch import STCH
from mtlgrad.scalarizers.stch_set import STCHSet
from mtlgrad.scalarizers.tchebycheff import Tchebycheff
from mtlgrad.scalarizers.uncertainty import UW
from mtlgrad.scalarizers.uwso import UWSO

__all__ = [
    "COSMOS",
    "DWA",
    "DWL",
    "FAMO",
    "Fixed",
    "GLS",
    "IGB",
    "IMTLL",
    "Mean",
    "PBI",
    "RLW",
    "ReLoBRaLo",
    "SILS",
    "STCH",
    "STCHSet",
    "Scalarizer",
    "SoftAdapt",
    "StatefulScalarizer",
    "Sum",
    "Tchebycheff",
    "UW",
    "UWSO",
]
