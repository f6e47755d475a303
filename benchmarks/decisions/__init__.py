"""Measure how often the verdicts are right, on simulated festivals with a known truth."""
