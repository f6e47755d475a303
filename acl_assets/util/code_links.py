"""Links from assets to the code that defines them, as plain metadata: Dagster's own code references are beta."""

from __future__ import annotations

from functools import cache
from importlib.metadata import metadata

from dagster import MetadataValue


def code_link(path: str) -> MetadataValue[str]:
    """Return a file of the repository as metadata: a web address if pyproject.toml names a Repository, else its path.

    `path` is relative to the root of the repository.
    """
    repository = _repository()
    return MetadataValue.url(f"{repository}/blob/main/{path}") if repository else MetadataValue.path(path)


@cache
def _repository() -> str | None:
    for entry in metadata("acl_assets").get_all("Project-URL") or []:
        label, _, address = entry.partition(", ")
        if label == "Repository":
            return str(address).rstrip("/")
    return None
