"""Conversion in a thread of the test: starting a worker process takes a second."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from acl_assets.source_tables import conversion


class Threads(ThreadPoolExecutor):
    def submit(self, _function: Any, *arguments: Any, **keywords: Any) -> Future[Any]:
        return super().submit(conversion.make_table, *arguments, **keywords)


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "ChildProcesses", Threads)
