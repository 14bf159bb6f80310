"""Percentiles, intervals and tests: pure functions on numbers, each rule with its source."""
