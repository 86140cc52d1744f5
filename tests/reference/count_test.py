#!/usr/bin/env python3
"""Reference values of the detector's count test, from scipy and statsmodels. Prints them; the tests hold them.

Run once: python3 tests/reference/count_test.py
"""

import numpy as np
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

# Dispersion of two groups of equal rates: Pearson's chi-squared over the residual degrees of freedom.
x = np.array([90.0, 130.0, 110.0, 70.0, 150.0, 110.0])
n = np.array([1000.0, 1200.0, 1100.0, 900.0, 1300.0, 1100.0])
group = np.array([0, 0, 0, 1, 1, 1])
rate = x.sum() / n.sum()
x_equal = x * 0 + x
fit = sm.GLM(
    x_equal,
    np.column_stack([n * (group == 0), n * (group == 1)]),
    family=sm.families.Poisson(sm.families.links.identity()),
).fit()
print("pearson, own rates", fit.pearson_chi2 / fit.df_resid, "rates", fit.params)

# Pairs: the mean difference of rates with weights N0 N1/(N0 + N1), its standard error, and t.
n0 = np.array([1000.0, 2000.0, 1500.0, 800.0])
n1 = np.array([1200.0, 1800.0, 1600.0, 900.0])
x0 = np.array([100.0, 230.0, 140.0, 95.0])
x1 = np.array([150.0, 260.0, 190.0, 121.0])
d = x1 / n1 - x0 / n0
w = n0 * n1 / (n0 + n1)
pairs = sm.WLS(d, np.ones(4), weights=w).fit()
pooled = (x0.sum() + x1.sum()) / (n0.sum() + n1.sum())
print("pairs: difference", pairs.params[0], "se", pairs.bse[0], "dispersion", pairs.scale / pooled, "t", pairs.tvalues[0],
      "one-sided p", pairs.pvalues[0] / 2)

# Groups with a minimum effect: t of the excess under a given dispersion.
for t, df in [(2.0, 5.0), (12.0, 10.0), (5.1, 28.0)]:
    print("t tail", t, df, stats.t.sf(t, df))

# Few counts: beta-binomial mid-p; correlation rho means a + b = 1/rho - 1.
for k, trials, share, rho in [(9, 10, 0.5, 0.0), (9, 10, 0.5, 0.1), (30, 40, 0.4, 0.05)]:
    if rho == 0:
        law = stats.binom(trials, share)
    else:
        size = 1 / rho - 1
        law = stats.betabinom(trials, share * size, (1 - share) * size)
    print("mid-p", k, trials, share, rho, law.sf(k) + law.pmf(k) / 2)

print("BH", multipletests([0.01, 0.04, 0.03, 0.005, 0.8, 0.04], method="fdr_bh")[1])
print("trigamma", [float(__import__("scipy.special").special.polygamma(1, v)) for v in (0.5, 7.3)])
