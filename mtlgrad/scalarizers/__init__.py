"""Methods that read loss values only."""

from mtlgrad.scalarizers.base import Scalarizer, StatefulScalarizer
from mtlgrad.scalarizers.fixed import Fixed, Mean, Sum

__all__ = ["Fixed", "Mean", "Scalarizer", "StatefulScalarizer", "Sum"]
