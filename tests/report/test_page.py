"""The report as text: what it reads, what it says, how it is written. How it looks stands in test_report_page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from report.sample_warehouse import EXPORTED_AT, SampleWarehouse, sample_warehouse

from acl_assets.report import page as report
from acl_assets.report.page import ReportData, ReportDataError, VenueAnswer

ONE = "One venue sold 25% of all tickets. "
THREE = "Three venues sold 75% of all tickets. "


def _all_rows(specifications: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for specification in specifications.values():
        for rows in specification["datasets"].values():
            yield from rows


class TestReading:
    def test_counts_unsold_performances_of_the_past_only(self, warehouse: SampleWarehouse, tmp_path: Path) -> None:
        """A performance to come that has not sold yet is no failure."""
        attendance = warehouse.products["performance_attendance"]
        to_come = attendance[attendance.performance_start > EXPORTED_AT].assign(tickets_sold=0)
        products = warehouse.products | {"performance_attendance": pd.concat([attendance, to_come])}
        published = SampleWarehouse(products).write(tmp_path / "acl.duckdb")
        assert report.read_report_data(published, "America/Chicago").unsold_performances == 1

    def test_reads_along_with_other_readers(self, published_file: Path) -> None:
        """Opened for writing, the file could not be read by anyone else."""
        with duckdb.connect(published_file, read_only=True):
            assert len(report.read_report_data(published_file, "America/Chicago").candidates) == 24

    def test_a_missing_file_is_named_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(ReportDataError, match=r"acl\.duckdb does not exist; materialize published_warehouse first"):
            report.read_report_data(tmp_path / "acl.duckdb", "America/Chicago")

    def test_a_missing_table_is_named(self, warehouse: SampleWarehouse, tmp_path: Path) -> None:
        products = {name: frame for name, frame in warehouse.products.items() if name != "all_star_candidates"}
        published = SampleWarehouse(products).write(tmp_path / "acl.duckdb")
        with pytest.raises(ReportDataError, match="all_star_candidates"):
            report.read_report_data(published, "America/Chicago")

    def test_a_file_that_was_never_published_is_refused(self, warehouse: SampleWarehouse, tmp_path: Path) -> None:
        published = warehouse.write(tmp_path / "acl.duckdb")
        with duckdb.connect(published) as connection:
            connection.execute("delete from publication.publications")
        with pytest.raises(ReportDataError, match="was never published"):
            report.read_report_data(published, "America/Chicago")


class TestAnswer:
    def test_one_band_alone_is_clear_and_several_are_not(self, report_data: ReportData) -> None:
        first, second, third = report.venue_answers(report_data)
        assert (first.is_clear, second.is_clear, third.is_clear) == (True, False, False)
        assert list(first.leaders.band_name) == ["The Velvet Cicadas"]
        assert len(second.leaders) == second.leaders_in_all == 3
        assert second.spread == pytest.approx((2610 - 2570) / 2610)

    def test_a_leader_cut_off_from_its_equals_is_not_clear(self, report_data: ReportData) -> None:
        """With one candidate per venue, the tier in the whole table decides, not what is shown of it."""
        only_best = report_data.candidates[report_data.candidates.rank_in_venue == 1]
        answers = report.venue_answers(ReportData(**(vars(report_data) | {"candidates": only_best})))
        assert [answer.is_clear for answer in answers] == [True, False, False]

    @pytest.mark.parametrize(
        ("leaders", "words"),
        [
            ([], "There are no completed performances to judge by yet."),
            ([1], ONE + "One band there must be invited."),
            ([3], ONE + "No band stands alone at the top: near-equals lead everywhere."),
            ([1, 1, 1], THREE + "Three bands there must be invited."),
            ([1, 1, 2], THREE + "Two bands must be invited; near-equals lead at the other venue."),
            ([1, 2, 2], THREE + "One band must be invited; near-equals lead at the other two."),
        ],
    )
    def test_the_headline_says_it_in_words(self, leaders: list[int], words: str) -> None:
        venue = pd.Series({"share_of_tickets": 0.25})
        answers = [VenueAnswer(venue, pd.DataFrame(), number, 0.0) for number in leaders]
        assert report.headline(answers) == words


class TestPage:
    def test_totals_are_those_of_completed_performances(self, warehouse: SampleWarehouse, report_file: Path) -> None:
        attendance = warehouse.products["performance_attendance"].query("is_completed")
        page = report_file.read_text(encoding="utf-8")
        assert f'<dd id="total-tickets">{attendance.tickets_sold.sum():,}</dd>' in page
        assert f'<dd id="total-revenue">${attendance.tickets_sold.sum() * 25:,}</dd>' in page
        assert f'<dd id="total-performances">{len(attendance):,}</dd>' in page
        assert f'<dd id="total-bands">{attendance.band_id.nunique():,}</dd>' in page
        assert f'<dd id="total-festivals">{attendance.festival_year.nunique()}</dd>' in page

    def test_says_when_it_was_published_on_both_clocks(self, report_file: Path) -> None:
        assert "1 August 2022, 06:01 UTC (1 August, 01:01 in America/Chicago)" in report_file.read_text(
            encoding="utf-8"
        )

    def test_a_batch_without_a_manifest_is_said_to_be_dated_by_its_files(self, report_data: ReportData) -> None:
        batches = report_data.export_batches.assign(has_manifest=False)
        page = report.render_report(ReportData(**(vars(report_data) | {"export_batches": batches})))
        assert "without a manifest: the time is that of its newest file" in page

    def test_lists_warnings_escaped(self, report_file: Path) -> None:
        page = report_file.read_text(encoding="utf-8")
        assert "6 of 8 checks passed" in page
        assert "3 are dated &lt;after&gt; their show." in page

    def test_a_failed_check_that_blocks_nothing_is_told_from_a_warning(self, report_data: ReportData) -> None:
        audit = report_data.audit_results.assign(severity="ERROR")
        page = report.render_report(ReportData(**(vars(report_data) | {"audit_results": audit})))
        assert page.count("<strong>Failed</strong>") == 2

    def test_the_policy_allows_its_own_two_scripts_and_nothing_else(self, report_file: Path) -> None:
        page = report_file.read_text(encoding="utf-8")
        [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
        scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        directives = {words[0]: words[1:] for words in map(str.split, policy.split(";"))}
        assert directives["default-src"] == ["'none'"]
        assert directives["script-src"] == [f"'sha256-{digest}'" for digest in digests]
        assert len(digests) == 2

    def test_a_script_that_holds_a_closing_tag_cannot_end_early(
        self, report_data: ReportData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(report, "drawing_library", lambda: "const tag = '</script></SCRIPT><!--';")
        page = report.render_report(report_data)
        assert r"<script>const tag = '<\/script><\/SCRIPT><\!--';</script>" in page

    def test_names_cannot_end_the_embedded_specifications(self, tmp_path: Path) -> None:
        """They stand as JSON in a script element, where these texts would end it or its lines."""
        name = "</script></SCRIPT ><!--<script>]]>\u2028\u2029'\"&\\"
        warehouse = sample_warehouse(rename_bands={"The Velvet Cicadas": name})
        data = report.read_report_data(warehouse.write(tmp_path / "acl.duckdb"), "America/Chicago")
        page = report.render_report(data)
        [embedded] = re.findall(r'<script type="application/json" id="specifications">(.*)</script>', page)
        assert not re.search("[<>&\u2028\u2029]", embedded)
        assert name in {row.get("band_name") for row in _all_rows(json.loads(embedded))}


class TestWriting:
    def test_replaces_the_page_as_a_whole_and_leaves_nothing_behind(
        self, report_data: ReportData, tmp_path: Path
    ) -> None:
        target = tmp_path / "report" / "index.html"
        report.write_report(report_data, target)
        target.write_text("old", encoding="utf-8")
        report.write_report(report_data, target)
        assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        assert list(target.parent.iterdir()) == [target]

    def test_a_report_that_cannot_be_made_leaves_the_old_one(self, report_data: ReportData, tmp_path: Path) -> None:
        target = tmp_path / "index.html"
        target.write_text("old", encoding="utf-8")
        broken = ReportData(**(vars(report_data) | {"candidates": pd.DataFrame({"venue_rank": [1]})}))
        with pytest.raises(AttributeError):
            report.write_report(broken, target)
        assert target.read_text(encoding="utf-8") == "old"
