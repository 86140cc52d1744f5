"""Reference values for collector/src/detect/temporal/trend.rs: slope of Theil and Sen, trend of Mann and Kendall.

Run with scipy 1.17: python3 tests/reference/trend.py
"""

from scipy import stats

RISING = [0.3, 1.1, 0.7, 2.4, 1.9, 3.6, 2.2, 4.1, 5.0, 3.9, 6.2, 5.8, 7.7, 6.9, 30.0]
MIXED = [2.0, 1.0, 4.0, 3.0, 2.5, 0.5, 3.5, 1.5]
TIED = [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 2.0, 5.0, 6.0, 6.0, 8.0, 7.0]

for name, values in (("rising", RISING), ("mixed", MIXED)):
    print(name, "slope", repr(float(stats.theilslopes(values, range(len(values))).slope)))
for name, values in (("rising", RISING), ("mixed", MIXED), ("tied", TIED), ("six", [1, 2, 3, 4, 5, 6])):
    print(name, "p", repr(float(stats.kendalltau(range(len(values)), values).pvalue)))
