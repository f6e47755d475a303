"""The generated sections of the docs match the code."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from acl_assets.definitions import defs
from acl_assets.warehouse.project import dbt_project, load_manifest
from docs.generate.__main__ import DOCS_DIR, main, make_sections
from docs.generate.data_dictionary import checks_of
from docs.generate.pages import current_pages, outdated_pages


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return dict(load_manifest(dbt_project()))


def sections_of(manifest: dict[str, Any]) -> dict[str, str]:
    return make_sections(manifest, checks_of(defs))


def test_committed_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_changed_column_makes_dictionary_and_diagram_outdated(manifest: dict[str, Any]) -> None:
    changed = copy.deepcopy(manifest)
    changed["nodes"]["model.acl_assets.dim_bands"]["columns"]["fee"]["data_type"] = "double"
    pages = current_pages(DOCS_DIR, sections_of(changed))
    assert [page.name for page in outdated_pages(pages)] == ["data_dictionary.md", "pipeline.md"]


def test_diagrams_draw_every_key_and_reference(manifest: dict[str, Any]) -> None:
    sections = sections_of(manifest)
    source, star = sections["source-system"], sections["star-schema"]
    assert "performances ||--o{ tickets : performance_id" in source
    assert source.count("PK") == 6
    assert source.count("FK") == source.count("||--o{") == 5
    assert star.count("||--") == star.count("FK") == 11


def test_the_pipeline_lists_every_data_product(manifest: dict[str, Any]) -> None:
    products = {node["name"] for node in manifest["nodes"].values() if node["schema"] == "data_products"}
    listed = (DOCS_DIR / "pipeline.md").read_text().split("## 4. Data products")[1].split("### The rules")[0]
    assert {name for name in products if f"\n| `{name}` |" not in listed} == set()


def test_dictionary_names_every_check_and_whether_it_blocks(manifest: dict[str, Any]) -> None:
    dictionary = sections_of(manifest)["data-dictionary"]
    for check in checks_of(defs):
        effect = "stops the refresh" if check.is_blocking else "warns"
        assert f"| `{check.name}` | {effect} |" in dictionary
