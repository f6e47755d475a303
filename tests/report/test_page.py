"""The report as text: what it reads, what it says, how it is written. How it looks stands in test_report_page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pandas as pd
import pytest
from report.sample_warehouse import EXPORTED_AT, SampleWarehouse, sample_warehouse

from acl_assets.report import page as report
from acl_assets.report.page import ReportData, ReportDataError, VenueAnswer


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


def answer(verdict: str) -> VenueAnswer:
    venue, judged = pd.Series({"share_of_tickets": 0.25}), pd.Series({"verdict": verdict, "bands": 1})
    return VenueAnswer(venue, judged, pd.DataFrame(), 9, [])


class TestAnswer:
    def test_bands_that_the_verdict_names_come_likeliest_first(self, report_data: ReportData) -> None:
        first, second, _ = report.venue_answers(report_data)
        assert (first.verdict.verdict, list(first.named.band_name)) == ("must invite", ["The Velvet Cicadas"])
        assert second.verdict.verdict == "near-equals"
        assert list(second.named.band_name) == ["Okra Moonshine", "Björk's Understudy", "Earth, Wind & Tire"]

    def test_without_a_clear_lead_only_safe_bands_are_named(self, report_data: ReportData) -> None:
        verdicts = report_data.verdicts.assign(verdict="no clear lead")
        bands = report_data.band_sales.assign(verdict="possible")
        bands.loc[bands.band_name == "NULL", "verdict"] = "safe to invite"
        answers = report.venue_answers(replace(report_data, verdicts=verdicts, band_sales=bands))
        assert [list(found.named.band_name) for found in answers] == [["NULL"], [], []]

    def test_bands_outside_the_picture_that_are_likelier_are_named_below_it(self, report_data: ReportData) -> None:
        bands = report_data.band_sales.assign(verdict="possible")
        ninth = (bands.venue_rank == 1) & (bands.rank_in_venue == 9)
        bands.loc[ninth, "p_top_group"] = 0.4
        answers = report.venue_answers(replace(report_data, band_sales=bands))
        assert answers[0].likelier_elsewhere[0] == bands.band_name[ninth].iloc[0]

    @pytest.mark.parametrize(
        ("verdicts", "words"),
        [
            ([], "There are no completed performances to judge by yet."),
            (["must invite"], "One venue sold 25% of all tickets: one has a must-invite."),
            (
                ["near-equals", "must invite", "near-equals"],
                "Three venues sold 75% of all tickets: one has a must-invite and two have near-equals.",
            ),
            (
                ["no clear lead", "leads on one show", "must invite"],
                "Three venues sold 75% of all tickets: one has a must-invite, one has a leader that played once and "
                "one has no clear lead.",
            ),
        ],
    )
    def test_the_headline_says_what_the_records_show(self, verdicts: list[str], words: str) -> None:
        assert report.headline([answer(verdict) for verdict in verdicts]) == words


class TestFindings:
    @pytest.mark.parametrize(
        ("tickets", "finding"),
        [
            ([100, 90, 110, 200, 210, 190], "doubled from 2013"),
            ([100, 100, 100, 140, 140, 140, 150], "rose by 40% from 2013"),
            ([200, 200, 200, 100, 100, 100], "fell by 50% from 2013"),
            ([100, 105, 100, 95, 100, 104], "about level from 2010 to 2015"),
            ([100, 200], ""),
        ],
    )
    def test_the_title_of_picture_1_names_the_largest_step(self, tickets: list[int], finding: str) -> None:
        """A festival on sale is no step."""
        festivals = pd.DataFrame({"festival_year": range(2010, 2010 + len(tickets)), "tickets_sold": tickets})
        on_sale = pd.DataFrame({"festival_year": [2030], "tickets_sold": [1], "is_completed": [False]})
        assert report.sales_finding(pd.concat([festivals.assign(is_completed=True), on_sale])) == finding

    def test_the_title_of_picture_2_adds_the_shares_of_the_top_venues(self) -> None:
        assert report.venues_finding([answer("no clear lead")] * 2) == "two sold 50% of all"


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
        with pytest.raises(jinja2.UndefinedError):
            report.write_report(broken, target)
        assert target.read_text(encoding="utf-8") == "old"
