"""Extraction of the ticketing database into export batches."""
