"""Every defect damages a good batch in one way, and reading the batch ends as its entry says."""

import shutil
import time
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acl_assets.ingestion.source_schema import SOURCE_TABLES
from acl_assets.landing_zone.batches import list_batches, resolve_chain
from acl_assets.landing_zone.folder_store import FolderLandingZone
from acl_assets.landing_zone.manifest import BatchError
from acl_assets.simulator.batch import write_batch, write_plain_batch
from acl_assets.simulator.defects import DEFECTS, BatchForm, Defect, Outcome, write_defective_batch
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.source_tables.conversion import TableOrder, make_table

SETTLE_SECONDS = 60
BATCH_ID = "batch"


@pytest.fixture(scope="module")
def history() -> TicketingHistory:
    return TicketingHistory(0.001)


@pytest.fixture(scope="module")
def good_batches(history: TicketingHistory, tmp_path_factory: pytest.TempPathFactory) -> dict[BatchForm, Path]:
    exports_dir = tmp_path_factory.mktemp("good")
    forms: dict[BatchForm, Path] = {"plain": write_plain_batch(exports_dir / "plain", BATCH_ID, history)}
    for batch_format in ("parquet", "csv", "csv.gz", "csv.zst"):
        forms[batch_format] = write_batch(exports_dir / batch_format, BATCH_ID, history, batch_format)
    return forms


@pytest.fixture(scope="module")
def good_rows(good_batches: dict[BatchForm, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    return read_batch(good_batches["parquet"].parent, tmp_path_factory.mktemp("good_rows"))


def damaged(good: Path, defect: Defect, exports_dir: Path) -> Path:
    """A copy of a good batch with a defect in it."""
    folder = Path(shutil.copytree(good, exports_dir / BATCH_ID))
    defect.plant(folder)
    return folder


def read_batch(exports_dir: Path, target: Path) -> dict[str, pa.Table]:
    """Verify and convert the newest batch, as if it had been there for an hour."""
    zone = FolderLandingZone(exports_dir)
    chain = resolve_chain(list_batches(zone, SETTLE_SECONDS, now=time.time() + 3_600))
    target.mkdir(exist_ok=True)
    rows = {}
    for name, table in SOURCE_TABLES.items():
        file = target / f"{name}.parquet"
        make_table(TableOrder(zone, chain.batches, table, None, file, file.with_suffix(".jsonl")))
        rows[name] = pq.read_table(file).replace_schema_metadata()
    return rows


def content_of(folder: Path) -> dict[str, bytes | float | str]:
    """What a folder holds: bytes of files, targets of links, and the file times that tell when it was written."""
    content: dict[str, bytes | float | str] = {}
    for path in folder.iterdir():
        if path.is_symlink():
            content[path.name] = str(path.readlink())
        else:
            content[path.name] = path.read_bytes() if path.is_file() else "folder"
    if not (folder / "manifest.json").exists():
        content["newest"] = max(path.stat().st_mtime for path in folder.iterdir())
    return content


def with_outcome(*outcomes: Outcome) -> list[Defect]:
    return [defect for defect in DEFECTS.values() if defect.outcome in outcomes]


def by_name(defect: Defect) -> str:
    return defect.name


class TestCatalogue:
    @pytest.mark.parametrize("defect", DEFECTS.values(), ids=by_name)
    def test_an_entry_is_complete(self, defect: Defect):
        assert DEFECTS[defect.name] is defect
        assert defect.name.replace("_", "").isalnum()
        assert defect.summary.endswith(".")
        assert defect.forms
        assert bool(defect.caught_by) == (defect.outcome != "loads")
        assert defect.outcome == "loads" or not defect.loads_as

    def test_every_outcome_occurs(self):
        assert {defect.outcome for defect in DEFECTS.values()} == set(get_args(Outcome))

    @pytest.mark.parametrize("defect", DEFECTS.values(), ids=by_name)
    def test_planting_changes_the_batch(self, defect: Defect, good_batches: dict[BatchForm, Path], tmp_path: Path):
        good = good_batches[defect.forms[0]]
        assert content_of(damaged(good, defect, tmp_path)) != content_of(good)


class TestOutcomes:
    @pytest.mark.parametrize("defect", with_outcome("batch error"), ids=by_name)
    def test_a_batch_error_says_what_is_wrong_where(
        self, defect: Defect, good_batches: dict[BatchForm, Path], tmp_path: Path
    ):
        damaged(good_batches[defect.forms[0]], defect, tmp_path / "exports")
        with pytest.raises(BatchError) as raised:
            read_batch(tmp_path / "exports", tmp_path / "rows")
        for fragment in defect.caught_by:
            assert fragment in str(raised.value)

    @pytest.mark.parametrize("defect", with_outcome("loads"), ids=by_name)
    def test_a_batch_that_must_load_holds_the_good_rows(
        self,
        defect: Defect,
        good_batches: dict[BatchForm, Path],
        good_rows: dict[str, pa.Table],
        tmp_path: Path,
    ):
        damaged(good_batches[defect.forms[0]], defect, tmp_path / "exports")
        rows = {name: table.to_pylist() for name, table in read_batch(tmp_path / "exports", tmp_path / "rows").items()}
        expected = {name: table.to_pylist() for name, table in good_rows.items()}
        for (table, position, column), value in defect.loads_as.items():
            expected[table][position][column] = value
        assert rows == expected

    @pytest.mark.parametrize("defect", with_outcome("check", "warning"), ids=by_name)
    def test_what_a_check_must_find_is_readable(
        self, defect: Defect, good_batches: dict[BatchForm, Path], tmp_path: Path
    ):
        """The file and its manifest agree, so nothing before the check can have found it."""
        damaged(good_batches[defect.forms[0]], defect, tmp_path / "exports")
        assert read_batch(tmp_path / "exports", tmp_path / "rows").keys() == SOURCE_TABLES.keys()

    @pytest.mark.parametrize("defect", with_outcome("not a batch yet"), ids=by_name)
    def test_a_folder_still_being_written_is_no_batch(
        self, defect: Defect, good_batches: dict[BatchForm, Path], tmp_path: Path
    ):
        damaged(good_batches[defect.forms[0]], defect, tmp_path)
        listing = list_batches(FolderLandingZone(tmp_path), SETTLE_SECONDS)
        assert not listing.headers
        for fragment in defect.caught_by:
            assert fragment in listing.skipped[BATCH_ID]

    @pytest.mark.parametrize("form", DEFECTS["null_price"].forms)
    def test_a_defect_of_the_rows_is_the_same_in_every_form(
        self, form: BatchForm, good_batches: dict[BatchForm, Path], good_rows: dict[str, pa.Table], tmp_path: Path
    ):
        damaged(good_batches[form], DEFECTS["null_price"], tmp_path / "exports")
        rows = read_batch(tmp_path / "exports", tmp_path / "rows")
        assert rows["tickets"]["price"].null_count == 1
        assert rows["tickets"].drop_columns(["price"]) == good_rows["tickets"].drop_columns(["price"])
        assert {name: rows[name] for name in rows if name != "tickets"} == {
            name: good_rows[name] for name in rows if name != "tickets"
        }

    def test_a_plain_file_keeps_its_time(self, good_batches: dict[BatchForm, Path], tmp_path: Path):
        """A batch without a manifest was exported when its newest file was written; damage must not make it newer."""
        folder = damaged(good_batches["plain"], DEFECTS["null_price"], tmp_path)
        assert (folder / "tickets.csv").stat().st_mtime == (good_batches["plain"] / "tickets.csv").stat().st_mtime


class TestWriteDefectiveBatch:
    def test_the_batch_appears_with_its_defect(self, history: TicketingHistory, tmp_path: Path):
        folder = write_defective_batch(tmp_path, BATCH_ID, history, DEFECTS["negative_price"], "parquet")
        assert -25 in pq.read_table(folder / "tickets.parquet")["price"].to_pylist()
        assert [path.name for path in tmp_path.iterdir()] == [BATCH_ID]

    def test_a_link_out_of_the_folder_keeps_its_target(self, history: TicketingHistory, tmp_path: Path):
        folder = write_defective_batch(tmp_path, BATCH_ID, history, DEFECTS["symbolic_link_out"], "parquet")
        assert (folder / "venues.parquet").is_symlink()
        assert pq.read_table(folder / "venues.parquet").num_rows == 11

    def test_a_form_the_defect_cannot_take_is_refused(self, history: TicketingHistory, tmp_path: Path):
        with pytest.raises(ValueError, match="nul_byte can be planted in csv, plain, not in parquet"):
            write_defective_batch(tmp_path, BATCH_ID, history, DEFECTS["nul_byte"], "parquet")
        assert not list(tmp_path.iterdir())

    def test_a_batch_that_is_there_is_left_alone(self, history: TicketingHistory, tmp_path: Path):
        folder = write_batch(tmp_path, BATCH_ID, history)
        before = content_of(folder)
        with pytest.raises(BatchError, match="is there already"):
            write_defective_batch(tmp_path, BATCH_ID, history, DEFECTS["negative_price"], "parquet")
        assert content_of(folder) == before
