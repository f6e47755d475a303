"""The command line writes batches where it is told to and says where they are; it runs the live database, too."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from postgres import execute
from refreshes import wait_until

from acl_assets.landing_zone.batches import BatchChain, list_batches, resolve_chain
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import PROJECT_DIR
from acl_assets.simulator.__main__ import main


def chain_at(location: Path | str) -> BatchChain:
    return resolve_chain(list_batches(landing_zone_at(location), settle_seconds=0))


def test_batch_is_written_to_the_landing_zone_and_named_after_its_export_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert main(["write-batch", "--exports-dir", str(tmp_path), "--scale", "0.001"]) == 0
    folder = tmp_path / "simulated-20220801T060000Z"
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{folder}\n", ""), "progress is for terminals"
    monkeypatch.setenv("ACL_EXPORTS_DIR", str(tmp_path / "zone"))
    assert main(["write-batch", "--scale", "0.001", "--exported-at", "2022-09-01T06:00:00-05:00"]) == 0
    assert main(["write-batch", "--scale", "0.001", "--format", "csv.gz", "--batch-id", "older"]) == 0
    assert (tmp_path / "zone" / "older" / "tickets.csv.gz").exists()
    assert chain_at(tmp_path / "zone").newest.batch_id == "simulated-20220901T110000Z"
    for options, pattern, number in (("--plain", "p/*", 6), ("--rows-per-file=1000", "n/tickets-*", 4)):
        batch_id, _, _ = pattern.partition("/")
        assert main(["write-batch", "--scale", "0.001", options, "--batch-id", batch_id]) == 0
        assert len(list((tmp_path / "zone").glob(pattern))) == number


def test_a_landing_zone_on_object_storage_is_filled_too(bucket: str, capsys: pytest.CaptureFixture[str]):
    arguments = ["write-batch", "--exports-dir", f"{bucket}/exports", "--scale", "0.001", "--batch-id"]
    assert main([*arguments, "chosen"]) == 0
    assert capsys.readouterr().out == f"{bucket}/exports/chosen\n"
    assert chain_at(f"{bucket}/exports").newest.batch_id == "chosen"
    assert main([*arguments, "chosen"]) == 1


@pytest.mark.server
def test_a_live_database_sells_until_it_is_interrupted_and_goes_on_where_it_ended(tmp_path: Path):
    command = [sys.executable, "-m", "acl_assets.simulator", "live", "--data-dir", str(tmp_path / "data")]
    command += ["--port", "0", "--scale", "0.001", "--rate", "100"]
    tickets = []
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR)
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("export ACL_TICKETING_DSN="))
        dsn = line.strip().partition("=")[2]
        (before,) = execute(dsn, "select count(*) from tickets")[0]
        more = f"select count(*) > {before + 20} from tickets"
        wait_until(partial(_is_true, dsn, more), "tickets are sold")
        process.send_signal(signal_number)
        last_line = process.communicate()[0].splitlines()[-1]
        assert (process.returncode, last_line.startswith("Stopped after ")) == (0, True)
        with pytest.raises(psycopg2.OperationalError):
            execute(dsn, "select 1")
        tickets.append(before)
    assert 3_000 < tickets[0] < tickets[1] < 2 * tickets[0], "the history is loaded once"


def _is_true(dsn: str, query: str) -> bool:
    return execute(dsn, query) == [(True,)]


def test_unusable_landing_zone_is_refused_by_the_name_of_its_option(capsys: pytest.CaptureFixture[str]):
    assert main(["write-batch", "--exports-dir", "s3://key:geheim@bucket/acl", "--scale", "0.001"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: --exports-dir cannot be used: it has more in it than a bucket and a folder")
    assert "geheim" not in printed


@pytest.mark.server
def test_a_server_that_cannot_run_is_said_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "letter.txt").touch()
    assert main(["live", "--data-dir", str(tmp_path), "--scale", "0.001"]) == 1
    assert "no data directory of PostgreSQL" in capsys.readouterr().err
