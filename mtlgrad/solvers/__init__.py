"""The small convex problems of the zoo, solved exactly from the Gramian, each with its optimality certificate."""

from mtlgrad.solvers.cagrad import cagrad_residual, cagrad_weights
from mtlgrad.solvers.cone import cone_residual, project_onto_dual_cone
from mtlgrad.solvers.scaling import factor, unit_diagonal
from mtlgrad.solvers.simplex import min_norm_residual, min_norm_weights, project_onto_simplex

__all__ = [
    "cagrad_residual",
    "cagrad_weights",
    "cone_residual",
    "factor",
    "min_norm_residual",
    "min_norm_weights",
    "project_onto_dual_cone",
    "project_onto_simplex",
    "unit_diagonal",
]
