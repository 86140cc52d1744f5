#!/usr/bin/env python3
"""Reference values of the evaluation's closed forms and of the known methods, from scipy. Prints them; the tests hold them.

Run once: python3 tests/reference/evaluate.py
"""

from scipy import stats

interval = stats.binomtest(3, 100).proportion_ci(method="exact")
print("Clopper-Pearson, 3 of 100:", interval.low, interval.high)
print("z sum, level 1e-5, power .8:", stats.norm.ppf(1 - 1e-5) + stats.norm.ppf(0.8))
before, after = [1.0, 2.0, 3.0, 4.0, 5.0], [2.5, 6.0, 7.0, 8.0, 9.0]
print("Mann-Whitney, exact:", stats.mannwhitneyu(before, after, method="exact").pvalue)
after[0] = 2.0
print("Mann-Whitney, a tie:", stats.mannwhitneyu(before, after, method="asymptotic").pvalue)
welch = stats.ttest_ind([12.0, 14.0, 13.0, 16.5], [10.0, 11.0, 12.0, 13.0], equal_var=False)
print("Welch:", welch.statistic, welch.df)
