"""Reference values for the service's costs and the gate, by scipy.

Run with scipy 1.x: python3 tests/reference/service.py. The numbers stand in the tests of collector/src/detect/service and
of collector/src/gate/restarts.rs.
"""

import numpy as np
from scipy import stats

print("t", stats.t.sf(2.5, 4), stats.t.isf(0.025, 4), stats.t.isf(0.2, 4))

# Groups: one variance for both sides, as scipy.stats.ttest_ind does.
before, after = np.log([100.0, 104.0, 97.0]), np.log([112.0, 118.0, 109.0, 115.0])
test = stats.ttest_ind(after, before, equal_var=True)
difference = after.mean() - before.mean()
print("groups", difference, difference / test.statistic, test.df)
margin = np.log(1.03)
print("groups beyond 3 %", stats.ttest_ind(after - margin, before, equal_var=True, alternative="greater").pvalue)
print("groups interval", test.confidence_interval(0.95))

# Pairs.
old, new = np.log([100.0, 80.0, 130.0, 95.0]), np.log([108.0, 85.0, 141.0, 101.0])
test = stats.ttest_rel(new, old)
print("pairs", (new - old).mean(), (new - old).mean() / test.statistic, test.df)
print("pairs beyond 3 %", stats.ttest_rel(new - margin, old, alternative="greater").pvalue)

# Strata: least squares. The difference is that of the model with one effect of the arm; the variance is that of the model
# in which each arm of each stratum has a mean of its own.
rows = [(0, 0, 100.0), (0, 0, 104.0), (0, 1, 111.0), (1, 0, 50.0), (1, 0, 52.0), (1, 1, 55.0), (1, 1, 57.0)]
y = np.log([cost for _, _, cost in rows])
common = np.array([[stratum == 0, stratum == 1, arm] for stratum, arm, _ in rows], dtype=float)
full = np.array([[2 * stratum + arm == cell for cell in range(4)] for stratum, arm, _ in rows], dtype=float)
difference = np.linalg.lstsq(common, y, rcond=None)[0][2]
residual = y - full @ np.linalg.lstsq(full, y, rcond=None)[0]
degrees = len(rows) - 4
variance = (residual**2).sum() / degrees * np.linalg.inv(common.T @ common)[2, 2]
print("strata", difference, np.sqrt(variance), degrees)

print("restarts", stats.binom.sf(7, 8, 0.5), stats.binom.sf(4, 6, 0.25))
