"""One of something for all processes that run tests side by side.

What belongs here: who makes it, who waits, who ends it. What does not: what it is.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest


def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this test run that all its processes know."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that the first process has made and filled, and that stays."""
    done = folder.with_suffix(".made")
    with folder.with_suffix(".lock").open("w") as lock, _locked(lock):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@contextmanager
def shared(folder: Path, name: str, make: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
    """Give what the first process has made to everybody; it ends it when all others have left.

    Args:
        folder: known to all processes.
        name: of what is shared.
        make: what it takes to make it; what it gives must be JSON.
    """
    description = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as entrance, (folder / f"{name}.users").open("w") as users:
        with _locked(entrance):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not description.exists():
                made = make()
                description.write_text(json.dumps(made.__enter__()))
            else:
                made = None
            value = json.loads(description.read_text())
        try:
            yield value
        finally:
            if made is not None:
                # Comes back when nobody else is using it; who comes now waits, and makes another one.
                fcntl.flock(users, fcntl.LOCK_EX)
                description.unlink()
                made.__exit__(None, None, None)


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
