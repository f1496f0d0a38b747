"""Without regression: similarity of representations (RSA, CKA), their geometry, alignment and capacity."""

from brainmap.comparison.alignment import manifold_alignment
from brainmap.comparison.capacity import ManifoldCapacity, manifold_capacity
from brainmap.comparison.cka import cka, cka_matrix
from brainmap.comparison.geometry import effective_dimension, geometry, rankme, two_nn_dimension
from brainmap.comparison.rsa import RSAResult, rsa, rsa_difference

__all__ = [
    "ManifoldCapacity",
    "RSAResult",
    "cka",
    "cka_matrix",
    "effective_dimension",
    "geometry",
    "manifold_alignment",
    "manifold_capacity",
    "rankme",
    "rsa",
    "rsa_difference",
    "two_nn_dimension",
]
