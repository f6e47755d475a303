"""A bundle to change."""

from superset.bundles import bundle_folder

__all__ = ["bundle_folder"]
