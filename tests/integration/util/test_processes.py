"""Calls in worker processes, which end with their block and with the process that started them."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from dagster import GraphDefinition, op
from refreshes import wait_until

from acl_assets.util.processes import ChildProcessDiedError, ChildProcesses
from acl_assets.util.runs import root_cause

FUNCTIONS = """
import os, sys, time
from pathlib import Path

def process_id():
    return os.getpid()

def main_file():
    return getattr(sys.modules["__main__"], "__file__", None)

def halves(numbers, log):
    for number in numbers:
        log(f"halving {number}")
    return [number / 2 for number in numbers]

class UnpicklableError(Exception):
    def __init__(self, *, number):
        super().__init__(f"error {number}")

def fail():
    raise UnpicklableError(number=7)

def die():
    os._exit(7)

def meet(own, other):
    Path(own).touch()
    while not Path(other).exists():
        time.sleep(0.01)
    return os.getpid()

def wait(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)
"""

pytestmark = pytest.mark.slow

# A run that waits for a call; the program has no guard against being imported by its workers.
RUN = """
import sys
from acl_assets.util.processes import ChildProcesses
with ChildProcesses() as processes:
    processes.call("functions:wait", sys.argv[1])
"""


@pytest.fixture(autouse=True)
def _functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def has_started(file: Path) -> bool:
    return file.exists() and file.read_text() != ""


def test_one_worker_answers_all_calls_and_passes_lines_until_the_block_ends() -> None:
    lines: list[str] = []
    with ChildProcesses() as processes:
        worker = psutil.Process(processes.call("functions:process_id"))
        assert processes.call("functions:halves", [1, 4], log=lines.append) == [0.5, 2.0]
        with pytest.raises(TypeError, match="unsupported operand"):
            processes.call("functions:halves", ["a"], log=lines.append)
        assert processes.call("functions:main_file").endswith("util/processes.py"), "the main module is not imported"
        assert processes.call("functions:process_id") == worker.pid != os.getpid()
    assert not worker.is_running()
    assert lines == ["halving 1", "halving 4", "halving a"]


def test_run_that_fails_in_a_worker_has_the_error_as_its_cause() -> None:
    @op
    def fail() -> None:
        with ChildProcesses() as processes:
            processes.call("functions:halves", ["a"], log=print)

    result = GraphDefinition("failing", node_defs=[fail]).execute_in_process(raise_on_error=False)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert root_cause(event) == ("TypeError", "TypeError: unsupported operand type(s) for /: 'str' and 'int'\n")


def test_error_that_cannot_be_sent_is_still_told() -> None:
    """As those of Spark's client: sent as they are, they would end the pool like the death of a worker."""
    with ChildProcesses() as processes:
        with pytest.raises(RuntimeError, match="UnpicklableError: error 7"):
            processes.call("functions:fail")
        assert processes.call("functions:halves", [1], log=print) == [0.5]


def test_death_of_a_worker_is_a_clear_error() -> None:
    """The kernel ends processes that take too much memory."""
    with (
        pytest.raises(ChildProcessDiedError, match=r"ended before it had answered.* more;"),
        ChildProcesses() as processes,
    ):
        processes.call("functions:die")


def test_calls_run_at_the_same_time_in_different_processes(tmp_path: Path) -> None:
    """Two functions that wait for each other both return."""
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with ChildProcesses(2) as processes:
        calls = [processes.submit("functions:meet", *files) for files in [(one, other), (other, one)]]
        assert len({call.result() for call in calls}) == 2


def test_block_ends_without_waiting_for_calls(tmp_path: Path) -> None:
    """An interrupted refresh does not wait for the tables that are being converted, nor for the others."""
    file = tmp_path / "process_id"
    before = threading.active_count()
    with ChildProcesses() as processes:
        processes.submit("functions:wait", str(file))
        processes.submit("functions:process_id")
        wait_until(lambda: has_started(file), "the call has begun")
    assert not psutil.pid_exists(int(file.read_text()))
    assert threading.active_count() == before


def test_workers_end_with_a_killed_run(tmp_path: Path) -> None:
    """Otherwise they would still convert during the next run."""
    file, program = tmp_path / "process_id", tmp_path / "run.py"
    program.write_text(RUN)
    with subprocess.Popen([sys.executable, str(program), str(file)]) as run:
        wait_until(lambda: has_started(file), "the call has begun")
        process = psutil.Process(int(file.read_text()))
        run.kill()
    wait_until(lambda: not process.is_running(), "the process has ended", at_most_seconds=30.0)
