"""Measure the latency of buyers while the ticketing database is extracted."""
