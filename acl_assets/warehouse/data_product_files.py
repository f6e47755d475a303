"""Write the data products of a publication as Parquet and CSV files, and switch readers to them.

`published/data_products` is a link to a folder with the files of one publication. The folder is complete or absent.
"""

import shutil
from pathlib import Path

import duckdb

from acl_assets.settings import Settings
from acl_assets.util.atomic_write import fsync_path, replace_durably, switch_link
from acl_assets.util.sql import qualified_name, quoted_name, quoted_text

_SCHEMA = "data_products"
_TOO_LONG_FOR_CSV = "ticket_sales"
# Level 1 of Zstandard writes tickets faster than the default level, into a smaller file.
_PARQUET = "(format parquet, compression zstd, compression_level 1)"
# Excel takes a CSV file without a byte order mark for one in the encoding of the machine.
_BYTE_ORDER_MARK = "\ufeff"
# Spreadsheets evaluate text that begins with one of these, the last four of full width:
# https://owasp.org/www-community/attacks/CSV_Injection
_BEGINS_FORMULA = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"


def write_data_products(settings: Settings, file: Path) -> Path:
    """Write the data products of a build or published file, unless their folder is there, and return the folder.

    The folder has the name of the publication, so that files of two publications never mix.
    """
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute("set memory_limit = ?", [settings.memory_limit])
        connection.execute("set preserve_insertion_order = false")
        publication = "left(sha256(concat_ws(' ', published_at, run_id, state_digest)), 16)"
        ((digest,),) = connection.execute(f"select {publication} from publication.publications").fetchall()
        folder = settings.data_products_link.with_name(f"{_SCHEMA}.{digest}")
        if not folder.exists():
            for left in folder.parent.glob(f"{_SCHEMA}.*.unfinished"):
                shutil.rmtree(left, ignore_errors=True)
            unfinished = folder.with_suffix(f".{digest}.unfinished")
            unfinished.mkdir(parents=True)
            query = "select table_name from information_schema.tables where table_schema = ?"
            for (name,) in connection.execute(query, [_SCHEMA]).fetchall():
                _write_data_product(connection, name, unfinished)
            for path in (*unfinished.iterdir(), unfinished):
                fsync_path(path)
            replace_durably(unfinished, folder)
    return folder


def _write_data_product(connection: duckdb.DuckDBPyConnection, name: str, folder: Path) -> None:
    relation = qualified_name(_SCHEMA, name)
    parquet = quoted_text(str(folder / f"{name}.parquet"))
    if name == _TOO_LONG_FOR_CSV:
        connection.execute(f"copy (from {relation}) to {parquet} {_PARQUET}")
        return
    connection.execute(f"copy (from {relation} order by all) to {parquet} {_PARQUET}")
    columns = connection.execute(f"describe {relation}").fetchall()
    selected = ", ".join(
        f"{_csv_text(column) if data_type == 'VARCHAR' else quoted_name(column)} as "
        f"{quoted_name(column if number else _BYTE_ORDER_MARK + column)}"
        for number, (column, data_type, *_) in enumerate(columns)
    )
    csv = quoted_text(str(folder / f"{name}.csv"))
    connection.execute(f"copy (select {selected} from {relation} order by all) to {csv} (format csv, header)")


def _csv_text(column: str) -> str:
    """Return a text column in SQL, with an apostrophe before text that spreadsheets would evaluate."""
    name = quoted_name(column)
    return f"if(regexp_matches({name}, {quoted_text(_BEGINS_FORMULA)}), '''' || {name}, {name})"


def switch_data_products(settings: Settings) -> None:
    """Point `published/data_products` to the files of the published file, which are written if they are missing.

    The files of the publication before are kept for whoever is reading them; older ones are removed.
    """
    link = settings.data_products_link
    folder = write_data_products(settings, settings.published_file)
    if link.is_symlink() and link.readlink().name == folder.name:
        return
    previous = switch_link(link, folder)
    for path in link.parent.glob(f"{_SCHEMA}.*"):
        if path.name not in (folder.name, previous):
            shutil.rmtree(path, ignore_errors=True)
