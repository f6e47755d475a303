"""Measure refreshes, extracts and verdicts.

Each benchmark stores its results as JSON in `benchmarks/results/` and writes a page in `docs/` from them. The package
`acl_assets` does not import this one.
"""
