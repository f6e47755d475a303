"""The command line of the simulator writes batches, prints their folders, and runs the live database."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
from landing_zones import chain_at
from postgres import execute
from refreshes import wait_until

from acl_assets.settings import PROJECT_DIR
from acl_assets.simulator.__main__ import main
from acl_assets.source_schema import SOURCE_TABLES

pytestmark = pytest.mark.server

WRITE = ("write-batch", "--scale", "0.001")


def test_batch_is_written_to_the_landing_zone_and_named_after_its_export_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert main([*WRITE, "--exports-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'simulated-20220801T060000Z'}\n"
    assert printed.err == "", "progress is for terminals"
    zone = tmp_path / "zone"
    monkeypatch.setenv("ACL_EXPORTS_DIR", str(zone))
    assert main([*WRITE, "--exported-at", "2022-09-01T06:00:00-05:00"]) == 0
    assert main([*WRITE, "--format", "csv.gz", "--batch-id", "older"]) == 0
    assert chain_at(zone).newest.batch_id == "simulated-20220901T110000Z"
    assert main([*WRITE, "--plain", "--batch-id", "plain"]) == 0
    assert [len(list(zone.glob(pattern))) for pattern in ("older/*.csv.gz", "plain/*.csv")] == [len(SOURCE_TABLES)] * 2


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_batch_that_is_interrupted_is_not_in_the_way_of_the_next(
    tmp_path: Path, signal_number: signal.Signals, capfd: pytest.CaptureFixture[str]
):
    command = [sys.executable, "-m", "acl_assets.simulator", "write-batch", "--exports-dir", str(tmp_path)]
    process = subprocess.Popen(command, cwd=PROJECT_DIR)
    wait_until(lambda: [*tmp_path.rglob("tickets.parquet")], "tickets are written")
    process.send_signal(signal_number)
    assert process.wait() in (130, -signal.SIGKILL)
    assert "Traceback" not in capfd.readouterr().err
    assert not [path for path in tmp_path.glob("*/*") if path.is_file()], "make run would not simulate again"
    assert main([*WRITE, "--exports-dir", str(tmp_path)]) == 0
    assert chain_at(tmp_path).newest.batch_id == "simulated-20220801T060000Z"
    assert not [*tmp_path.glob(".simulated/*")]


def test_a_landing_zone_on_object_storage_is_filled_too(bucket: str, capsys: pytest.CaptureFixture[str]):
    arguments = [*WRITE, "--exports-dir", f"{bucket}/exports", "--batch-id", "chosen"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{bucket}/exports/chosen\n"
    assert chain_at(f"{bucket}/exports").newest.batch_id == "chosen"
    assert main(arguments) == 1


def test_live_database_sells_until_it_is_interrupted_and_goes_on_where_it_ended(tmp_path: Path):
    command = [sys.executable, "-m", "acl_assets.simulator", "live", "--data-dir", str(tmp_path / "data")]
    command += ["--port", "0", "--scale", "0.001", "--rate", "100"]
    tickets = []

    def count() -> int:
        return execute(dsn, "select count(*) from tickets")[0][0]

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR)
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("export ACL_TICKETING_DSN="))
        dsn = line.strip().partition("=")[2]
        tickets.append(count())
        wait_until(lambda: count() > tickets[-1] + 20, "tickets are sold")
        process.send_signal(signal_number)
        last_line = process.communicate()[0].splitlines()[-1]
        assert (process.returncode, last_line.startswith("The sale has ended.")) == (0, True)
        with pytest.raises(psycopg2.OperationalError):
            execute(dsn, "select 1")
    assert 3_000 < tickets[0] < tickets[1] < 2 * tickets[0], "the history is loaded once"


def test_what_cannot_be_done_is_said_without_traceback_or_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*WRITE, "--exports-dir", "s3://key:geheim@bucket/acl"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: --exports-dir cannot be used: it is a URL that names more")
    assert "geheim" not in printed
    (tmp_path / "letter.txt").touch()
    assert main(["live", "--data-dir", str(tmp_path), "--scale", "0.001"]) == 1
    assert "no data directory of PostgreSQL" in capsys.readouterr().err
    assert main([*WRITE, "--exports-dir", str(tmp_path / "letter.txt" / "exports")]) == 1
    assert "Not a directory" in capsys.readouterr().err
    assert main([*WRITE, "--exports-dir", str(tmp_path), "--exported-at", "9999-12-31T23:59:59-05:00"]) == 1
    assert "out of range" in capsys.readouterr().err
