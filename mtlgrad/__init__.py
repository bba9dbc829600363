"""mtlgrad: when the gradients of several tasks pull against each other, what should the update be?

Every method is a value: `GH()(J)` is the direction for a Jacobian J [m, n], and `Balancer(GH(), shared=...)` puts the
same rule into a training loop. `mtlgrad.catalog` lists them all.
"""

from mtlgrad import aggregators, scalarizers
from mtlgrad.aggregators import *  # noqa: F403 - re-exports exactly aggregators.__all__
from mtlgrad.balancer import Balancer
from mtlgrad.diagnostics import StepRecord
from mtlgrad.measuring import measure
from mtlgrad.method import Method, Traits
from mtlgrad.scalarizers import *  # noqa: F403 - re-exports exactly scalarizers.__all__

__version__ = "0.1.0"
__all__ = [
    "Balancer",
    "Method",
    "StepRecord",
    "Traits",
    "__version__",
    "catalog",
    "measure",
    *aggregators.__all__,
    *scalarizers.__all__,
]

from mtlgrad import catalog
