"""Conversion in the process of the test: starting a worker takes a second."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import DagsterInstance

from acl_assets.source_tables import conversion


def call(function: str, *arguments: Any, **keywords: Any) -> Future[Any]:
    """Call `module:function` as a worker does."""
    future: Future[Any] = Future()
    module, name = function.split(":")
    try:
        future.set_result(getattr(importlib.import_module(module), name)(*arguments, **keywords))
    except Exception as error:
        future.set_exception(error)
    return future


@contextmanager
def no_processes(_count: int = 1) -> Iterator[Any]:
    yield SimpleNamespace(submit=call)


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "ChildProcesses", no_processes)


@pytest.fixture
def ephemeral() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance
