"""Calls in a process of their own: they give what the function gives, and the process ends with who started it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from refreshes import wait_until

from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.source_tables.rejects import Reject, RejectedLinesError
from acl_assets.util.processes import ChildProcess, ChildProcessDiedError, ChildProcesses

FUNCTIONS = """
import gc, os, time
from pathlib import Path
from acl_assets.source_tables.rejects import RejectLog
from acl_assets.source_schema import SOURCE_TABLES

def process_id():
    return os.getpid()

def halves(numbers, log):
    for number in numbers:
        log(f"halving {number}")
    return [number / 2 for number in numbers]

def talk():
    print("not an answer", flush=True)
    os.write(1, b"nor is this")
    return "an answer"

def reject(folder):
    rejects = RejectLog()
    rejects.add("bands.csv", 2, "fee", "x", "is not a whole number")
    rejects.raise_for_rejects(SOURCE_TABLES["bands"], Path(folder) / "rejects.jsonl")

def garbage_collection():
    return gc.isenabled(), gc.get_freeze_count() > 0

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

# Stands for a run that waits for a call.
RUN = """
import sys
from acl_assets.util.processes import ChildProcess
with ChildProcess() as child:
    child.call("functions:wait", sys.argv[1])
"""


@pytest.fixture(autouse=True)
def _functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_function_is_called_elsewhere_and_what_it_says_and_returns_arrives_here() -> None:
    said: list[str] = []
    with ChildProcess() as child:
        assert child.call("functions:halves", [1, 4], log=said.append) == [0.5, 2.0]
        assert child.call("functions:process_id") != os.getpid()
    assert said == ["halving 1", "halving 4"]


def test_one_process_answers_all_calls_and_ends_with_the_block() -> None:
    with ChildProcess() as child:
        process = psutil.Process(child.call("functions:process_id"))
        assert child.call("functions:process_id") == process.pid
    assert not process.is_running()


def test_no_process_is_started_before_the_first_call() -> None:
    """A refresh whose tables are converted already pays for none."""
    before = psutil.Process().children()
    with ChildProcess():
        assert psutil.Process().children() == before


def test_no_process_is_started_after_the_block() -> None:
    """A thread may be about to call when its run is interrupted."""
    with ChildProcess() as child:
        pass
    with pytest.raises(ChildProcessDiedError, match="functions:process_id was called when its process had ended"):
        child.call("functions:process_id")


def test_garbage_is_collected_there_but_not_looked_for_among_what_was_imported() -> None:
    """A child process that converts table after table must not keep what each left."""
    with ChildProcess() as child:
        assert child.call("functions:garbage_collection") == (True, True)


def test_what_is_printed_there_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    """Libraries print warnings when they like."""
    with ChildProcess() as child:
        assert child.call("functions:talk") == "an answer"
    assert capfd.readouterr().err.startswith("not an answer")


def test_an_exception_arrives_as_itself(tmp_path: Path) -> None:
    """Rejected lines are handled by their type, and the notes say where an unexpected exception came from."""
    with ChildProcess() as child, pytest.raises(RejectedLinesError) as raised:
        child.call("functions:reject", str(tmp_path))
    assert raised.value.table == SOURCE_TABLES["bands"]
    assert raised.value.rejects == [Reject("bands.csv", 2, "fee", "x", "is not a whole number")]
    assert "1 rejected line or value" in str(raised.value)
    assert "raise_for_rejects" in raised.value.__notes__[0]


def test_the_next_call_is_answered_after_an_exception(tmp_path: Path) -> None:
    with ChildProcess() as child:
        with pytest.raises(RejectedLinesError):
            child.call("functions:reject", str(tmp_path))
        assert child.call("functions:halves", [2], log=lambda message: None) == [1.0]


def test_the_end_of_the_process_is_said_with_its_exit_code() -> None:
    """The kernel ends processes that take too much memory."""
    with ChildProcess() as child, pytest.raises(ChildProcessDiedError, match=r"functions:die ended with exit code 7"):
        child.call("functions:die")


def test_a_call_that_was_begun_goes_on_beside_its_caller(tmp_path: Path) -> None:
    """A library is loaded there while this process does something else."""
    here, there = tmp_path / "here", tmp_path / "there"
    with ChildProcess() as child:
        child.begin("functions:meet", str(there), str(here))
        wait_until(there.exists, "the call has begun")
        here.touch()
        assert child.result() != os.getpid()


def test_calls_run_side_by_side_in_processes_of_their_own(tmp_path: Path) -> None:
    """Two functions that wait for each other both return."""
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with ChildProcesses(2) as processes:
        calls = [
            processes.submit(ChildProcess.call, "functions:meet", *files) for files in [(one, other), (other, one)]
        ]
        assert len({call.result() for call in calls}) == 2


def test_more_calls_than_processes_are_answered_by_those_that_are_idle() -> None:
    with ChildProcesses(1) as processes:
        calls = [processes.submit(ChildProcess.call, "functions:process_id") for _ in range(3)]
        assert len({call.result() for call in calls}) == 1


def test_processes_end_with_the_block_whatever_they_do(tmp_path: Path) -> None:
    """A refresh that is interrupted does not wait for the tables that are being converted, nor for those that wait."""
    file = tmp_path / "process_id"
    with ChildProcesses(1) as processes:
        begun = processes.submit(ChildProcess.call, "functions:wait", str(file))
        waiting = processes.submit(ChildProcess.call, "functions:process_id")
        wait_until(lambda: file.exists() and file.read_text() != "", "the call has begun")
    assert isinstance(begun.exception(), ChildProcessDiedError)
    assert waiting.cancelled()
    assert not psutil.pid_exists(int(file.read_text()))


@pytest.mark.slow
def test_the_process_ends_with_a_killed_run(tmp_path: Path) -> None:
    """Otherwise it would go on converting beside the next run."""
    file = tmp_path / "process_id"
    with subprocess.Popen([sys.executable, "-c", RUN, str(file)]) as run:
        wait_until(lambda: file.exists() and file.read_text() != "", "the call has begun")
        process = psutil.Process(int(file.read_text()))
        run.kill()
    wait_until(lambda: not process.is_running(), "the process has ended", at_most_seconds=30.0)
