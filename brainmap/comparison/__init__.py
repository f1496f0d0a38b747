"""Without regression: similarity of representations (RSA, CKA), their geometry and their capacity."""

from brainmap.comparison.rsa import RSAResult, rsa, rsa_difference

__all__ = ["RSAResult", "rsa", "rsa_difference"]
