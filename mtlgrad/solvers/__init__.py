"""The small convex problems of the zoo, solved exactly from the Gramian, each with its optimality certificate."""

from mtlgrad.solvers.bargaining import bargaining_residual, bargaining_weights
from mtlgrad.solvers.cagrad import cagrad_residual, cagrad_weights
from mtlgrad.solvers.cone import cone_residual, harmonized_parts, harmonized_sum, project_onto_dual_cone
from mtlgrad.solvers.scaling import factor, unit_diagonal
from mtlgrad.solvers.simplex import min_norm_residual, min_norm_weights, project_onto_simplex
from mtlgrad.solvers.spectral import (
    aligned_residual,
    aligned_weights,
    equal_cosine_residual,
    equal_cosine_weights,
    equal_projection_residual,
    equal_projection_weights,
)

__all__ = [
    "aligned_residual",
    "aligned_weights",
    "bargaining_residual",
    "bargaining_weights",
    "cagrad_residual",
    "cagrad_weights",
    "cone_residual",
    "equal_cosine_residual",
    "equal_cosine_weights",
    "equal_projection_residual",
    "equal_projection_weights",
    "factor",
    "harmonized_parts",
    "harmonized_sum",
    "min_norm_residual",
    "min_norm_weights",
    "project_onto_dual_cone",
    "project_onto_simplex",
    "unit_diagonal",
]
