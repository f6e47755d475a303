"""Layouts as Superset's pages leave them are completed before they are exported."""

from __future__ import annotations

from typing import Any

from acl_assets.superset.layout import ChartOfDashboard, completed_layout

BANDS, VENUES = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
CHARTS = {5: ChartOfDashboard(BANDS, "Bands"), 6: ChartOfDashboard(VENUES, "Venues")}


def part(kind: str, *children: str, **meta: Any) -> dict[str, Any]:
    return {"type": kind, "children": list(children), "meta": meta}


def chart(number: int, **meta: Any) -> dict[str, Any]:
    return part("CHART", chartId=number, sliceName="as it was called", **meta)


def with_tabs(**parts: dict[str, Any]) -> dict[str, Any]:
    return {"ROOT_ID": part("ROOT", "TABS"), "TABS": part("TABS", "first", "second"), "second": part("TAB"), **parts}


def uuids(layout: dict[str, Any]) -> dict[str, str]:
    """Uuids of the charts that can be reached from the root, by the names of their components."""
    reached, waiting = {}, ["ROOT_ID"]
    while waiting:
        name = waiting.pop()
        waiting += layout[name].get("children", [])
        if layout[name]["type"] == "CHART":
            reached[name] = layout[name]["meta"]["uuid"]
    return reached


def test_charts_get_their_uuids_and_explores_names_lose_the_number() -> None:
    layout = completed_layout(
        with_tabs(
            first=part("TAB", "row"),
            row=part("ROW", "CHART-5", "CHART-mine"),
            **{"CHART-5": chart(5), "CHART-mine": chart(6, uuid=None)},
        ),
        CHARTS,
    )
    assert uuids(layout) == {f"CHART-{BANDS}": BANDS, "CHART-mine": VENUES}
    assert layout["row"]["children"] == [f"CHART-{BANDS}", "CHART-mine"]


def test_parents_are_those_of_the_tree() -> None:
    """Explore names the grid as the parent of a tab."""
    row = {**part("ROW", "CHART-5"), "parents": ["ROOT_ID", "GRID_ID", "first"]}
    layout = completed_layout(with_tabs(first=part("TAB", "row"), row=row, **{"CHART-5": chart(5)}), CHARTS)
    assert layout["row"]["parents"] == ["ROOT_ID", "TABS", "first"]
    assert layout[f"CHART-{BANDS}"]["parents"] == ["ROOT_ID", "TABS", "first", "row"]


def test_charts_that_are_gone_leave_with_the_rows_and_columns_that_held_only_them() -> None:
    layout = completed_layout(
        with_tabs(
            first=part("TAB", "row", "shared", "by_hand"),
            row=part("ROW", "column"),
            column=part("COLUMN", "gone"),
            gone=chart(404),
            shared=part("ROW", "gone_too", "text", "a", "b"),
            gone_too=chart(405, uuid="cccccccc-0000-4000-8000-000000000000"),
            text=part("MARKDOWN"),
            a=chart(5),
            b=chart(6),
            by_hand=part("ROW"),
        ),
        CHARTS,
    )
    assert layout["first"]["children"] == ["shared", "by_hand"]
    assert layout["shared"]["children"] == ["text", "a", "b"]
    assert not {"row", "column", "gone", "gone_too"} & layout.keys()


def test_charts_without_a_place_end_the_first_tab() -> None:
    layout = completed_layout(
        with_tabs(first=part("TAB", "row"), row=part("ROW", "a"), a=chart(5), lost=chart(6)), CHARTS
    )
    assert layout["first"]["children"] == ["row", f"ROW-{VENUES}"]
    assert uuids(layout) == {"a": BANDS, f"CHART-{VENUES}": VENUES}
    assert "lost" not in layout


def test_a_new_row_takes_no_name_of_another() -> None:
    """A chart that was exported without a place before may have been moved out of its row and taken off."""
    parts = {f"ROW-{VENUES}": part("ROW", "a")}
    layout = completed_layout(with_tabs(first=part("TAB", f"ROW-{VENUES}"), a=chart(5), **parts), CHARTS)
    assert set(uuids(layout).values()) == {BANDS, VENUES}


def test_a_dashboard_that_was_never_edited_gets_its_charts_in_rows() -> None:
    layout = completed_layout({}, CHARTS)
    assert layout["GRID_ID"]["children"] == [f"ROW-{BANDS}", f"ROW-{VENUES}"]
    assert set(uuids(layout).values()) == {BANDS, VENUES}


def test_completing_a_layout_twice_changes_nothing() -> None:
    once = completed_layout(
        with_tabs(first=part("TAB", "row"), row=part("ROW", "CHART-5"), **{"CHART-5": chart(5)}), CHARTS
    )
    assert completed_layout(once, CHARTS) == once
