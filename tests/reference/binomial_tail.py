#!/usr/bin/env python3
"""Tails of the binomial distribution as exact sums, for collector/src/alert/self_test.rs."""

from fractions import Fraction
from math import comb


def at_least(alarms, tests, rate):
    """Probability of at least so many alarms among so many tests."""
    terms = (comb(tests, k) * rate**k * (1 - rate) ** (tests - k) for k in range(alarms))
    return float(1 - sum(terms))


print(at_least(3, 100, Fraction(1, 100)))
print(at_least(1, 3, Fraction(1, 1000)))
