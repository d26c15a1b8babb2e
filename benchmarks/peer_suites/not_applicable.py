"""Tests of the peers that say nothing of emlearn, each with its reason: patterns of names, by suite.

A test that matches, and passes all the same, counts as passing.
"""

NOT_APPLICABLE = {"sklearn-mixture": [], "sklearn-impute": [], "hmmlearn": []}
