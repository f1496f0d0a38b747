"""
Above chance
============

How large is a score when there is nothing to find?

Permuting whole photographs and fitting again gives the scores of chance
(:func:`~brainmap.statistics.permutation_test`). Here 40 vertices follow the features and 40 are noise. Which test to
use when: :doc:`/statistics`.
"""

import matplotlib.pyplot as plt
import numpy as np

from brainmap.encoding import cross_val_encode
from brainmap.statistics import PermutationOptions, permutation_null, permutation_test

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 30))
groups = np.arange(200) // 4
Y = rng.standard_normal((200, 80))
Y[:, :40] += 0.6 * X @ rng.standard_normal((30, 40)) / np.sqrt(30)

options = PermutationOptions(n_permutations=499)
test = permutation_test(X, Y, alpha=100.0, groups=groups, options=options)
_, null, _ = permutation_null(X, Y, alpha=100.0, units=np.arange(80), groups=groups, options=options)
for name, part in (("driven", slice(0, 40)), ("noise", slice(40, 80))):
    print(f"{name}: {(test.table['p_fwer'][part] < 0.05).sum()} of 40 above chance, corrected over vertices")

r = cross_val_encode(X, Y, groups=groups).r.mean("split").values.ravel()
figure, axis = plt.subplots(figsize=(5, 3))
bins = np.linspace(-0.3, 0.7, 41)
axis.hist(null.ravel(), bins, density=True, color="0.8", label="permuted")
axis.hist(r[:40], bins, density=True, alpha=0.6, label="driven")
axis.hist(r[40:], bins, density=True, alpha=0.6, label="noise")
axis.axvline(np.quantile(null.max(1), 0.95), color="k", ls=":", lw=1, label="5 % family-wise")
axis.set(xlabel="Pearson r", ylabel="Density", title="Simulated vertices")
axis.legend(frameon=False)
figure.tight_layout()
