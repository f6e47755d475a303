"""The store of batches for a location: a folder of this machine or object storage."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from acl_assets.landing_zone.folder_store import FolderLandingZone
from acl_assets.landing_zone.s3_store import S3LandingZone

LandingZone: TypeAlias = FolderLandingZone | S3LandingZone
"""A place in which batches land: its `location`, and the methods `entries`, `read_manifest` and `local_files`."""


def landing_zone_at(location: Path | str) -> LandingZone:
    """Return the landing zone at a folder of this machine or, given as text, at a URL of object storage."""
    return FolderLandingZone(location) if isinstance(location, Path) else S3LandingZone(location)
