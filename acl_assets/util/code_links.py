"""Links from assets to the code that defines them, as plain metadata: Dagster's own code references are beta."""

from __future__ import annotations

from functools import cache
from importlib.metadata import metadata

from dagster import MetadataValue


@cache
def code_link(path: str) -> MetadataValue[str]:
    """Return a file of the repository as metadata: a web address if pyproject.toml names a Repository, else its path.

    `path` is relative to the root of the repository.
    """
    urls = metadata("acl_assets").get_all("Project-URL") or []
    repository = dict(url.split(", ", 1) for url in urls).get("Repository", "").rstrip("/")
    return MetadataValue.url(f"{repository}/blob/main/{path}") if repository else MetadataValue.path(path)
