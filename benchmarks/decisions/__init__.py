"""Measure how often the verdicts are right, on simulated festivals whose truth is known."""
