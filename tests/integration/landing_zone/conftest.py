"""A landing zone of the test's own."""

from landing_zones import zone

__all__ = ["zone"]
