"""Permutation tests of encoding scores: photographs are permuted, and the whole encoding is fitted again."""
