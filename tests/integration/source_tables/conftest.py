"""Conversion in the process of the test."""

from source_tables.fixtures import _no_workers, ephemeral

__all__ = ["_no_workers", "ephemeral"]
