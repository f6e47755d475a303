"""Diagrams and data dictionary follow from the code: the committed pages are current, or a check fails."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from acl_assets.definitions import defs
from acl_assets.warehouse.project import dbt_project, load_manifest
from docs.generate.__main__ import DDL_FILE, DOCS_DIR, main, make_sections
from docs.generate.data_dictionary import Check, checks_of
from docs.generate.pages import PlaceError, current_pages, outdated_pages


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return dict(load_manifest(dbt_project()))


@pytest.fixture(scope="module")
def checks(manifest: dict[str, Any]) -> list[Check]:
    return checks_of(defs, manifest)


@pytest.fixture
def docs_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DOCS_DIR, tmp_path / "docs", ignore=shutil.ignore_patterns("images", "generate")))


def test_the_committed_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_a_changed_ddl_fails_the_check_until_the_pages_are_made_anew(
    docs_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "schema.sql"
    changed.write_text(DDL_FILE.read_text(encoding="utf-8").replace("fee integer", "fee numeric(10, 2)"))
    arguments = ["--docs-dir", str(docs_copy), "--ddl", str(changed)]
    assert main([*arguments, "--check"]) == 1
    assert "pipeline.md" in capsys.readouterr().err
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    assert "decimal(10_2) fee" in (docs_copy / "pipeline.md").read_text(encoding="utf-8")


def test_a_check_writes_nothing(docs_copy: Path) -> None:
    page = docs_copy / "pipeline.md"
    page.write_text(page.read_text(encoding="utf-8").replace("erDiagram", "erDiagramm"), encoding="utf-8")
    before = page.read_bytes()
    assert main(["--docs-dir", str(docs_copy), "--check"]) == 1
    assert page.read_bytes() == before


def test_a_changed_column_of_a_model_makes_dictionary_and_diagram_outdated(
    manifest: dict[str, Any], checks: list[Check], docs_copy: Path
) -> None:
    changed = copy.deepcopy(manifest)
    changed["nodes"]["model.acl_assets.dim_bands"]["columns"]["fee"]["data_type"] = "double"
    pages = current_pages(docs_copy, make_sections(DDL_FILE.read_text(encoding="utf-8"), changed, checks))
    assert outdated_pages(pages) == [docs_copy / "data_dictionary.md", docs_copy / "pipeline.md"]


def test_a_check_that_no_longer_blocks_makes_the_dictionary_outdated(
    manifest: dict[str, Any], checks: list[Check], docs_copy: Path
) -> None:
    changed = [check._replace(is_blocking=False) for check in checks]
    pages = current_pages(docs_copy, make_sections(DDL_FILE.read_text(encoding="utf-8"), manifest, changed))
    assert outdated_pages(pages) == [docs_copy / "data_dictionary.md"]


def test_the_source_diagram_shows_keys_and_references(manifest: dict[str, Any], checks: list[Check]) -> None:
    diagram = make_sections(DDL_FILE.read_text(encoding="utf-8"), manifest, checks)["source-system"]
    assert "performances ||--o{ tickets : performance_id" in diagram
    assert "text ticketnum UK" in diagram
    assert diagram.count("PK") == 6
    assert diagram.count("FK") == diagram.count("||--o{") == 5


def test_the_star_diagram_draws_every_reference_to_a_dimension(manifest: dict[str, Any], checks: list[Check]) -> None:
    diagram = make_sections("", manifest, checks)["star-schema"]
    assert diagram.count("||--") == diagram.count("FK") == 11
    assert "dim_performances ||--o| fct_performances : performance_id" in diagram


def test_the_dictionary_names_every_check(manifest: dict[str, Any], checks: list[Check]) -> None:
    dictionary = make_sections("", manifest, checks)["data-dictionary"]
    for check in checks:
        effect = "stops the refresh" if check.is_blocking else "warns"
        assert f"| `{check.name}` | {effect} |" in dictionary


def test_a_place_nobody_fills_and_a_section_nobody_places_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: unknown -->\n<!-- end of generated -->\n")
    with pytest.raises(PlaceError, match="unknown"):
        current_pages(tmp_path, {})
    page.write_text("no place\n")
    with pytest.raises(PlaceError, match="lineage"):
        current_pages(tmp_path, {"lineage": "text"})
