"""Write or check the generated sections of the pages: `python -m docs.generate [--check]`."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acl_assets.definitions import defs
from acl_assets.settings import PROJECT_DIR, variables
from acl_assets.warehouse.project import dbt_project, load_manifest
from docs.generate.data_dictionary import Check, checks_of, data_dictionary, markdown_table
from docs.generate.diagrams import lineage_diagram, source_system_diagram, star_schema_diagram
from docs.generate.pages import current_pages, outdated_pages

DOCS_DIR = PROJECT_DIR / "docs"
DDL_FILE = PROJECT_DIR / "acl_assets" / "simulator" / "ticketing_schema.sql"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated sections, or list outdated pages with `--check`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.generate", description="Write generated sections of docs/*.md."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is outdated")
    options = parser.parse_args(arguments)
    pages = current_pages(DOCS_DIR, make_sections(load_manifest(dbt_project()), checks_of(defs)))
    outdated = outdated_pages(pages)
    if options.check and outdated:
        names = ", ".join(str(path) for path in outdated)
        print(f"Outdated pages: {names}. Run python -m docs.generate and review the difference.", file=sys.stderr)
        return 1
    for path in outdated:
        path.write_text(pages[path], encoding="utf-8")
        print(path)
    return 0


def make_sections(manifest: Mapping[str, Any], checks: Sequence[Check]) -> dict[str, str]:
    """Return every generated section as Markdown, by name."""
    return {
        "source-system": source_system_diagram(DDL_FILE.read_text(encoding="utf-8")),
        "star-schema": star_schema_diagram(manifest),
        "lineage": lineage_diagram(manifest),
        "data-dictionary": data_dictionary(manifest, checks),
        "settings": settings_table(),
        "commands": commands_table((PROJECT_DIR / "Makefile").read_text(encoding="utf-8")),
    }


def settings_table() -> str:
    """Return the environment variables with defaults and meanings, as a Markdown table."""
    rows = [(f"`{name}`", _default(field.default), str(field.description)) for name, field in variables().items()]
    return markdown_table(("variable", "default", "meaning"), rows)


def _default(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Path):
        return f"`{value.relative_to(PROJECT_DIR)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def commands_table(makefile: str) -> str:
    """Return the targets of the Makefile that have a description, as a Markdown table."""
    targets = re.findall(r"^([a-z-]+):.*?## (.*)$", makefile, flags=re.MULTILINE)
    return markdown_table(("command", "what it does"), [(f"`make {name}`", what) for name, what in targets])


if __name__ == "__main__":
    sys.exit(main())
