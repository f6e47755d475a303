"""The refresh: whole, killed, a selection of it, and two at a time."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from refreshes import (
    LATER,
    MEASURED_CHILDREN,
    Refreshed,
    dagster_home,
    environment,
    land_batch,
    land_plain_batch,
    open_instance,
    published_batches,
    published_rows,
    refresh,
    sha256,
    wait_until,
)

from acl_assets.alerts.data_age import data_age
from acl_assets.definitions import build_definitions
from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.util.refresh_lock import RefreshLock
from acl_assets.warehouse.dbt_docs import generate_docs, main

pytestmark = pytest.mark.slow

REFRESH = (sys.executable, "-m", "acl_assets.refresh")
ONE_MODEL = 'key:"data_products/band_sales_by_venue"'


def materialize(selection: str) -> list[str]:
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "acl_assets.definitions"]
    return [*command, "--select", selection]


@dataclass
class StartedRefresh:
    """A refresh in a process of its own, with what it has printed so far."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


StartRefresh = Callable[..., StartedRefresh]


@pytest.fixture
def start(published: Settings, tmp_path: Path) -> Iterator[StartRefresh]:
    """Starts a command over the published festival."""
    started: list[StartedRefresh] = []

    def run(command: Sequence[str]) -> StartedRefresh:
        log_file = tmp_path / f"refresh-{len(started)}.log"
        variables = {name: value for name, value in environment(published).items() if name != MEASURED_CHILDREN}
        with log_file.open("wb") as stream:
            process = subprocess.Popen(command, cwd=PROJECT_DIR, env=variables, stdout=stream, stderr=subprocess.STDOUT)
        started.append(StartedRefresh(process, log_file))
        return started[-1]

    yield run
    for refreshing in started:
        refreshing.process.kill()
        refreshing.process.wait()


# As a whole ---------------------------------------------------------------------------------------------------


def test_one_run_takes_a_batch_to_the_report(published: Settings, first_refresh: Refreshed) -> None:
    """From the files of the export to what people look at; every ticket arrives, with its dollars."""
    assert first_refresh.metadata["published_warehouse"]["published"] is True
    assert published.report_file.read_text().startswith("<!")
    exported = duckdb.sql(
        f"select count(*), sum(price) from '{published.exports_dir / 'first' / 'tickets.parquet'}'"
    ).fetchall()
    for query in (
        "select count(*), sum(ticket_price) from star_schema.fct_ticket_sales",
        "select sum(tickets_sold), sum(revenue) from data_products.ticket_sales_over_time",
    ):
        assert published_rows(published, query) == exported


def test_no_name_of_a_person_is_published(published: Settings, first_refresh: Refreshed) -> None:
    """Not in a column, not in a failing row, not in a description: every text of the file is read."""
    people = str(published.source_tables_dir / "current" / "people.parquet")
    names = {name for (name,) in duckdb.execute("select name from read_parquet(?)", [people]).fetchall()}
    assert len(names) > 100
    columns = published_rows(
        published,
        "select table_schema, table_name, column_name from information_schema.columns where data_type = 'VARCHAR'",
    )
    texts: set[str] = set()
    for schema, table, column in columns:
        query = f'select distinct "{column}" from {schema}."{table}" where "{column}" is not null'
        texts |= {text for (text,) in published_rows(published, query)}
    assert [name for name in names if any(name in text for text in texts)] == []
    lineage = [
        deps
        for metadata in first_refresh.metadata.values()
        if "dagster/column_lineage" in metadata
        for deps in metadata["dagster/column_lineage"].deps_by_column.values()
    ]
    sources = {(dep.asset_key.to_user_string(), dep.column_name) for deps in lineage for dep in deps}
    assert ("festival/bands", "name") in sources
    assert ("festival/people", "name") not in sources
    computed = first_refresh.metadata["data_products/performance_attendance"]["dagster/column_lineage"]
    assert {dep.column_name for dep in computed.deps_by_column["avg_ticket_price"]} == {"revenue", "tickets_sold"}


def test_data_products_and_dimensions_show_their_first_rows(first_refresh: Refreshed) -> None:
    """Facts and evidence are not shown, and dim_people shows no more than keys."""
    previews = {name: found["preview"] for name, found in first_refresh.metadata.items() if "preview" in found}
    models = {name for name in first_refresh.metadata if name.startswith(("data_products/", "star_schema/"))}
    assert models - set(previews) == {"star_schema/fct_performances", "star_schema/fct_ticket_sales"}
    assert not [name for name in previews if name.startswith("evidence/")]
    people = previews["star_schema/dim_people"].records
    assert len(people) == 10
    assert {column for row in people for column in row.data} == {"person_id"}
    candidates = [row.data for row in previews["data_products/all_star_candidates"].records]
    assert [(row["venue_rank"], row["rank_in_venue"]) for row in candidates] == [
        *((1, rank) for rank in range(1, 9)),
        *((2, rank) for rank in range(1, 3)),
    ]


def test_every_check_is_stored_with_its_result(published: Settings, first_refresh: Refreshed) -> None:
    """Readers of the data find what was checked; nothing that was evaluated may be missing."""
    stored = published_rows(
        published, "select asset_key, check_name, passed, blocking, description from publication.audit_results"
    )
    graph = build_definitions(published).resolve_asset_graph()
    declared = {
        (key.asset_key.to_user_string(), key.name): graph.get_check_spec(key).blocking
        for key in {*graph.asset_check_keys}.difference(data_age.check_keys)
    }
    assert {(asset, check): blocking for asset, check, _, blocking, _ in stored} == declared
    assert {(asset, check) for asset, check, passed, *_ in stored if not passed} == first_refresh.warnings
    assert [check for _, check, *_, description in stored if not description] == []


def test_code_on_the_page_about_the_data_runs(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the files below a data folder called `data`."""
    page = (PROJECT_DIR / "docs" / "use_the_data.md").read_text()
    monkeypatch.chdir(published.data_dir.parent)
    (pandas,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    printed = subprocess.run([sys.executable, "-c", pandas], capture_output=True, text=True, check=True).stdout
    assert "The Long Meadow" in printed
    assert "2021 " in printed
    queries = re.findall(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(queries) == 2
    for query in queries:
        published_rows(published, query)


def test_refresh_command_serves_readers_ignores_dbt_variables_and_prints_stages_and_answer(
    published: Settings, start: StartRefresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From files without a manifest, in a terminal that lacks the characters of a name.

    DBT_EMPTY would publish empty tables; what is not printed is in the logs.
    """
    audited = "select asset_key, check_name from publication.audit_results order by all"
    before = published_rows(published, audited)
    monkeypatch.setenv("DBT_EMPTY", "true")
    home = dagster_home(tmp_path / "home")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (Path(published.exports_dir) / "東京" / "tickets").mkdir(parents=True)
    land_plain_batch(published, "second", exported_at=LATER, seed=21)
    refreshing = start(REFRESH)
    answers = set()
    while refreshing.process.poll() is None:
        answers.update(
            published_rows(
                published,
                "select (select batch_id from publication.export_batches), "
                "(select count(*) from star_schema.fct_ticket_sales) = "
                "(select row_count from publication.source_tables where table_name = 'tickets')",
            )
        )
        time.sleep(0.25)
    assert refreshing.process.returncode == 0, refreshing.log
    assert r"\u6771\u4eac" in refreshing.log
    assert ("first", True) in answers
    assert answers <= {("first", True), ("second", True)}
    assert published_batches(published) == ["second"]
    assert published_rows(published, audited) == before
    assert published_rows(published, "select changes_since from publication.summary") == [("first",)]
    changed = {change for (change,) in published_rows(published, "select change from publication.changes")}
    assert {"venue rank", "band rank", "band verdict"} <= changed
    exported = pq.read_metadata(published.data_products_link / "ticket_sales.parquet").num_rows
    assert published_rows(published, "select count(*) from data_products.ticket_sales") == [(exported,)]

    stages = [line[:5] for line in refreshing.log.splitlines() if line.startswith("[")]
    assert stages == [f"[{number}/{len(stages)}]" for number in range(1, len(stages) + 1)]
    assert "Warning: star_schema/fct_performances: performances_have_tickets: 2 rows against" in refreshing.log
    verdicts = published_rows(published, "from data_products.venue_verdicts select sentence order by venue_rank")
    assert all(sentence in refreshing.log for (sentence,) in verdicts)
    assert str(published.report_file) in refreshing.log
    assert not re.search("\x1b|WARNING|Warning:.*(supersede|deprecate|beta)|START test", refreshing.log)
    with open_instance(home) as instance:
        [run] = (record.dagster_run for record in instance.get_run_records())
    assert run.job_name == "refresh"
    assert run.tags[".dagster/repository"] == "__repository__@acl_assets.definitions"
    assert any("START test" in log.read_text() for log in (home / "storage" / run.run_id).rglob("*.out"))


def test_refresh_command_prints_the_one_error_and_publishes_nothing(
    published: Settings, start: StartRefresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = dagster_home(tmp_path / "home")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    batch = land_batch(published, "second", exported_at=LATER, seed=21)
    (batch / "bands.parquet").write_bytes(b"cut short")
    before = sha256(published.published_file)
    failing = start(REFRESH)
    assert failing.process.wait() == 1
    assert "The refresh failed.\nfestival/bands: export_files_as_manifest: " in failing.log
    assert (
        "Nothing was published.\nMore: VERBOSE=1 make run, or make dev and http://127.0.0.1:3000/runs/" in failing.log
    )
    assert "Traceback" not in failing.log
    assert sha256(published.published_file) == before
    with open_instance(home) as instance:
        [run] = (record.dagster_run for record in instance.get_run_records())
    assert run.job_name == "refresh"


@pytest.mark.parametrize("home", ["not set", "damaged"])
def test_refresh_command_without_a_usable_dagster_home_is_one_error(
    start: StartRefresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    if home == "damaged":
        home = str(dagster_home(tmp_path / "home"))
        (tmp_path / "home" / "history" / "runs").mkdir(parents=True)
        (tmp_path / "home" / "history" / "runs" / "index.db").write_bytes(b"not a database")
        monkeypatch.setenv("DAGSTER_HOME", home)
    failing = start(REFRESH)
    assert failing.process.wait() == 1
    assert f"DAGSTER_HOME ({home}) cannot be used. Set it to" in failing.log
    assert "Traceback" not in failing.log


def test_dagster_asset_materialize_publishes_a_selection(published: Settings, start: StartRefresh) -> None:
    """Without DAGSTER_HOME, as in continuous integration."""
    run_of = "select run_id from publication.publications"
    before = published_rows(published, run_of)
    refreshing = start(materialize(f'{ONE_MODEL} or key:"published_warehouse"'))
    assert refreshing.process.wait() == 0, refreshing.log
    assert published_rows(published, run_of) != before


def test_dbt_docs_show_the_columns_of_the_published_file_and_leave_it_alone(
    published: Settings, tmp_path: Path
) -> None:
    before = sha256(published.published_file)
    with duckdb.connect(str(published.published_file), read_only=True):
        generate_docs(published, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert '"name": "p_stands_out"' in page
    assert sha256(published.published_file) == before


def test_dbt_docs_name_the_missing_published_file_and_a_port_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACL_DATA_DIR", str(tmp_path))
    assert main(["--port", "0"]) == 1
    assert f"There is no published file {tmp_path}/published/acl.duckdb. Run the job refresh" in capsys.readouterr().err
    assert main(["--port", "99999"]) == 1
    assert "Port 99999 of 127.0.0.1 cannot be used: bind(): port must be 0-65535." in capsys.readouterr().err


def test_selection_that_matches_nothing_fails_and_publishes_nothing(published: Settings, start: StartRefresh) -> None:
    """Dagster takes an empty selection for everything."""
    before = sha256(published.published_file)
    land_batch(published, "second", exported_at=LATER, seed=21)
    refreshing = start(["dg", "launch", "--assets", 'key:"data_products/no_such_model"'])
    assert refreshing.process.wait() != 0
    assert "The selection of this run matches no asset" in refreshing.log
    assert "'*' selects every asset" in refreshing.log
    assert "The newest batch of" not in refreshing.log, "no step has run"
    assert sha256(published.published_file) == before


# In part ------------------------------------------------------------------------------------------------------


def test_one_model_is_built_without_publishing_and_says_so(published: Settings) -> None:
    """Trying a model out must not change what people read."""
    before = sha256(published.published_file)
    refreshed = refresh(published, select=ONE_MODEL)
    assert refreshed.success, refreshed.errors
    assert set(refreshed.metadata) == {"data_products/band_sales_by_venue"}
    said = refreshed.metadata["data_products/band_sales_by_venue"]["publication"]
    assert said == f"nothing: published_warehouse is not selected; the build stays in {published.build_file}"
    assert sha256(published.published_file) == before


def test_publishing_without_building_changes_nothing_and_says_so(published: Settings) -> None:
    """It repairs the link to the data products, which a kill may have left behind."""
    before = sha256(published.published_file)
    published.data_products_link.unlink()
    refreshed = refresh(published, select='key:"published_warehouse"')
    assert refreshed.success, refreshed.errors
    assert refreshed.metadata["published_warehouse"]["published"] is False
    assert "built no model" in refreshed.metadata["published_warehouse"]["reason"]
    assert sha256(published.published_file) == before
    assert (published.data_products_link / "venue_verdicts.csv").exists()


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (None, "No complete full export batch in {0.exports_dir}. Put the files of all tables"),
        (ONE_MODEL, "There are no source tables in {0.source_tables_dir}"),
        ('key:"published_warehouse"', "There is no published file {0.published_file}. Run the job refresh"),
    ],
    ids=["everything", "one model", "publication"],
)
def test_refresh_of_an_empty_installation_says_what_is_missing_and_gives_the_lock_back(
    settings: Settings, select: str | None, said: str
) -> None:
    refreshed = refresh(settings, select=select)
    assert not refreshed.success
    assert said.format(settings) in refreshed.errors
    RefreshLock(lock_file=str(settings.refresh_lock_file), wait_seconds=0).acquire("next", lambda message: None)


# Stopped ------------------------------------------------------------------------------------------------------

MOMENTS: dict[str, Callable[[Settings, StartedRefresh], bool]] = {
    "while tickets are converted": lambda settings, refreshing: any(
        settings.source_tables_dir.glob("*.unfinished/tickets.parts/0.parquet")
    ),
    "while models are built": lambda settings, refreshing: (
        "OK created sql table model star_schema.fct_ticket_sales" in refreshing.log
    ),
    "before the swap": lambda settings, refreshing: "Finished dbt command" in refreshing.log,
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_refresh_leaves_the_published_file_and_the_next_one_succeeds(
    published: Settings, start: StartRefresh, moment: str
) -> None:
    """SIGKILL ends the run and orphans its dbt process; the next run needs no manual step."""
    land_batch(published, "second", exported_at=LATER, scale=0.01, seed=21, form="csv.gz")
    before = sha256(published.published_file)
    refreshing = start(materialize("*"))
    wait_until(lambda: MOMENTS[moment](published, refreshing), moment, every_seconds=0.02)
    refreshing.process.send_signal(signal.SIGKILL)
    assert refreshing.process.wait() == -signal.SIGKILL
    assert sha256(published.published_file) == before
    refreshed = refresh(published)
    assert refreshed.success, refreshed.errors
    assert published_batches(published) == ["second"]
    left_over = {path.name for path in published.build_dir.iterdir()} - {"refresh.lock", "dbt.lock", "dbt"}
    assert left_over == set()


def test_a_refresh_that_waits_too_long_for_another_fails_clearly(published: Settings) -> None:
    """The message names the holder; nothing has been touched."""
    before = sha256(published.published_file)
    lock_file = str(published.refresh_lock_file)
    other = RefreshLock(lock_file=lock_file)
    other.acquire("the-other-run", lambda message: None)
    refreshed = refresh(published, refresh_lock=RefreshLock(lock_file=lock_file, wait_seconds=0.2))
    other.release()
    assert refreshed.failed_steps == {"source_tables"}
    assert "Another refresh (run the-other-run" in refreshed.errors
    assert sha256(published.published_file) == before
