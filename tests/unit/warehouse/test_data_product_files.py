"""The data products of a publication as files: their content, and the link that readers follow."""

import csv
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from acl_assets.settings import Settings
from acl_assets.warehouse import data_product_files
from acl_assets.warehouse.data_product_files import switch_data_products, write_data_products

NAMES = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\uff1dx", 'Björk, "live"', "'68", "NULL", "a=b", None]


def publish(settings: Settings, run_id: str, *, switch: bool = True) -> str:
    """Publish a warehouse of one state; return the name of the folder with its files."""
    settings.published_file.parent.mkdir(parents=True, exist_ok=True)
    settings.build_dir.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(settings.build_file)) as connection:
        connection.execute(
            f"""
            create schema data_products; create schema publication;
            create table data_products.bands (band_name varchar, change int, run_id varchar default '{run_id}');
            create view data_products.ticket_sales as from data_products.bands;
            create table publication.publications as
            select timestamp '2022-08-01' as published_at, '{run_id}' as run_id, 'state' as state_digest
            """
        )
        rows = [(name, number - 3) for number, name in enumerate(NAMES)]
        connection.executemany("insert into data_products.bands (band_name, change) values (?, ?)", rows)
    folder = write_data_products(settings, settings.build_file)
    settings.build_file.replace(settings.published_file)
    if switch:
        switch_data_products(settings)
    return folder.name


def run_shown(settings: Settings) -> set[str]:
    """The runs whose files readers find."""
    return {*pq.read_table(settings.data_products_link / "bands.parquet")["run_id"].to_pylist()}


def folders(settings: Settings) -> set[str]:
    return {path.name for path in settings.published_file.parent.iterdir() if path.is_dir() and not path.is_symlink()}


def test_files_hold_the_data_products_and_csv_no_formula(settings: Settings) -> None:
    """Excel evaluates text that begins like a formula, and needs a byte order mark to read UTF-8."""
    publish(settings, "run-1")
    link = settings.data_products_link
    assert {path.name for path in link.iterdir()} == {"bands.csv", "bands.parquet", "ticket_sales.parquet"}
    assert {*pq.read_table(link / "bands.parquet")["band_name"].to_pylist()} == {*NAMES}
    with (link / "bands.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {int(row["change"]): row["band_name"] for row in csv.DictReader(stream)}
    assert (link / "bands.csv").read_bytes().startswith(b"\xef\xbb\xbfband_name,")
    assert [rows[number] for number in sorted(rows)] == [*(f"'{name}" for name in NAMES[:7]), *NAMES[7:11], ""]


def test_link_leads_to_the_files_of_the_published_file_and_the_previous_ones_are_kept(settings: Settings) -> None:
    """A state that is published again, by other code, has files of its own."""
    first, second = publish(settings, "run-1"), publish(settings, "run-2")
    assert run_shown(settings) == {"run-2"}
    assert folders(settings) == {first, second}
    third = publish(settings, "run-3")
    switch_data_products(settings)
    assert folders(settings) == {second, third}


def test_link_and_files_that_a_kill_left_behind_are_made_later(settings: Settings) -> None:
    """The run ended between the two switches, and its files are lost."""
    publish(settings, "run-1")
    written = Path(settings.published_file.parent, publish(settings, "run-2", switch=False))
    assert run_shown(settings) == {"run-1"}
    written.rename(written.with_suffix(f"{written.suffix}.unfinished"))
    switch_data_products(settings)
    assert run_shown(settings) == {"run-2"}


def test_only_the_last_of_several_failed_publications_leaves_files(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk each would leave less room to the next one."""

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    published = publish(settings, "run-1")
    monkeypatch.setattr(data_product_files, "_write_data_product", fail)
    for run_id in ("run-2", "run-3"):
        with pytest.raises(OSError, match="No space left"):
            publish(settings, run_id)
        settings.build_file.unlink()
    assert len(folders(settings) - {published}) == 1
