"""Measure how long a refresh takes, and what an extract costs buyers, against other ways to do the same work.

`python -m benchmarks` measures refreshes, `python -m benchmarks.extraction` extracts. Both store results as JSON in
`benchmarks/results/` and make a page in `docs/` from them. Nothing in the product imports this package.
"""
