"""The data and the words of the report, and its writing. `test_page_in_browser` tests its appearance."""

import re
import shutil
from collections import defaultdict
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from report.sample_warehouse import TIME_ZONE, sample_warehouse

from acl_assets.report import page as report
from acl_assets.report.band_charts import chance_text
from acl_assets.report.page import ReportData, ReportDataError

NOTHING_SOLD = "No completed performance has sold tickets to judge by yet."


def rendered(data: ReportData) -> str:
    """The page without its drawings, for tests of words."""
    return report.render_report(data, report.venue_answers(data), defaultdict(list), TIME_ZONE)


def test_a_file_that_cannot_be_reported_on_is_named_with_what_to_do(sample_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "acl.duckdb"
    with pytest.raises(ReportDataError, match=r"acl\.duckdb does not exist; materialize published_warehouse first"):
        report.read_report_data(file)
    shutil.copy(sample_file, file)
    for statement, complaint in {
        "delete from publication.publications": "was never published",
        "drop table data_products.all_star_candidates": "all_star_candidates",
    }.items():
        with duckdb.connect(file) as connection:
            connection.execute(statement)
        with pytest.raises(ReportDataError, match=complaint):
            report.read_report_data(file)


# The answer ----------------------------------------------------------------------------------------------------------


def test_bands_that_the_verdict_names_come_in_its_order(report_data: ReportData) -> None:
    answers = report.venue_answers(report_data)
    assert [answer["verdict"] for answer in answers] == ["must invite", "near-equals", "no clear lead"]
    for answer in answers:
        assert "; ".join(band["band_name"] for band in answer["named"]) == answer["band_names"]


def test_bands_outside_the_picture_that_are_likelier_are_named_below_it(report_data: ReportData) -> None:
    bands = report_data["band_sales"].assign(verdict="possible")
    ninth = (bands.venue_rank == 1) & (bands.rank_in_venue == 9)
    bands.loc[ninth, "p_top_group"] = 0.4
    answers = report.venue_answers(report_data | {"band_sales": bands})
    assert answers[0]["likelier"][0] == bands.band_name[ninth].iloc[0]


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ([], NOTHING_SOLD),
        (["must invite"], "One venue sold 25 % of all tickets: it has a must-invite."),
        (["near-equals"] * 2, "Two venues sold 50 % of all tickets: both have near-equals."),
        (
            ["no clear lead"] * 3,
            "Three venues sold 75 % of all tickets: all three have no clear lead.",
        ),
        (
            ["no clear lead", "near-equals", "leads on one show", "near-equals"],
            "Four venues sold 100 % of all tickets: two have near-equals, one has a leader that played once and "
            "one has no clear lead.",
        ),
    ],
)
def test_the_headline_says_what_the_records_show(verdicts: list[str], words: str) -> None:
    assert report.headline([{"verdict": verdict, "share_of_tickets": 0.25} for verdict in verdicts]) == words


@pytest.mark.parametrize(
    ("tickets", "finding"),
    [
        ([100, 90, 110, 200, 210, 190], "rose by 100 % from 2010-2012 to 2013-2015"),
        ([100, 100, 100, 140, 140, 140, 150], "rose by 40 % from 2010-2012 to 2013-2015"),
        ([200, 200, 200, 100, 100, 100], "fell by 50 % from 2010-2012 to 2013-2015"),
        ([100, 105, 100, 95, 100, 104], "about level from 2010 to 2015"),
        ([100, 105, 110, 116, 122, 128, 134, 141], "rose by 28 % from 2010-2012 to 2015-2017"),
        ([100, 104, 108, 112, 117, 122, 127, 127, 122, 117, 112, 108, 104, 100], ""),
        ([100, 200], ""),
    ],
)
def test_the_title_of_picture_1_names_the_largest_step(tickets: list[int], finding: str) -> None:
    """A festival on sale is no step. Many small steps are no level, even if they end where they began."""
    festivals = pd.DataFrame({"festival_year": range(2010, 2010 + len(tickets)), "tickets_sold": tickets})
    on_sale = pd.DataFrame({"festival_year": [2030], "tickets_sold": [1], "is_completed": [False]})
    assert report.sales_finding(pd.concat([festivals.assign(is_completed=True), on_sale])) == finding


# The page ------------------------------------------------------------------------------------------------------------


def test_totals_are_those_of_completed_performances(
    sample: duckdb.DuckDBPyConnection, report_data: ReportData, report_file: Path
) -> None:
    attendance = sample.sql("from data_products.performance_attendance where is_completed").df()
    page = report_file.read_text(encoding="utf-8")
    assert f'<dd id="total-tickets">{attendance.tickets_sold.sum():,}</dd>' in page
    assert f'<dd id="total-revenue">${attendance.revenue.sum():,}</dd>' in page
    assert f'<dd id="total-performances">{len(attendance):,}</dd>' in page
    assert f'<dd id="total-bands">{attendance.band_id.nunique():,}</dd>' in page
    assert f'<dd id="total-festivals">{attendance.festival_year.nunique()}</dd>' in page
    assert "2 performances sold nothing and count with 0 tickets." in page
    one_unsold = attendance.drop(index=attendance.tickets_sold.idxmin())
    assert "1 performance sold nothing and counts with" in rendered(report_data | {"performances": one_unsold})
    assert "1 August 2022, 06:01 UTC (1 August, 01:01 in America/Chicago)" in page
    assert "Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-" in page


def test_warnings_are_listed_escaped_and_told_from_failures(report_data: ReportData, report_file: Path) -> None:
    page = report_file.read_text(encoding="utf-8")
    assert "2 of 4 checks passed" in page
    assert "3 are dated &lt;after&gt; their show." in page
    assert page.count("<strong>Warning</strong>") == 2
    audit = report_data["audit_results"].replace({"outcome": {"warning": "failed"}})
    assert rendered(report_data | {"audit_results": audit}).count("<strong>Failed</strong>") == 2


def test_without_a_clear_lead_and_a_manifest_the_page_says_so(report_data: ReportData) -> None:
    changed = report_data | {
        "verdicts": report_data["verdicts"].assign(verdict="no clear lead", bands=0),
        "export_batches": report_data["export_batches"].assign(has_manifest=False),
    }
    page = rendered(changed)
    assert page.count("No band is safe to invite on these records alone.") == 3
    assert "without a manifest: the time is that of its newest file" in page


CHANGES = pd.DataFrame(
    [
        ("venue verdict", "Old Depot", None, "no clear lead", "must invite"),
        ("venue rank", "Carpa", None, None, "3"),
        *(("band rank", "Old Depot", f"Band {number}", str(number), str(number + 1)) for number in range(1, 6)),
        ("band rank", "Carpa", "Leavers", "8", None),
        ("new band", None, "<b>Newcomers</b>", None, "new"),
    ],
    columns=["change", "venue_name", "band_name", "before", "after"],
)


def test_changes_stand_by_venue_and_long_lists_are_cut(report_data: ReportData) -> None:
    """A first publication has no such section."""
    title = "What changed since the last export"
    assert title not in rendered(report_data)
    second = report_data | {"summary": report_data["summary"].assign(changes_since="night-1 <b>")}
    assert "batch <bdi>night-1 &lt;b&gt;</bdi>. No rank and no verdict changed." in rendered(second)
    section = rendered(second | {"changes": CHANGES}).split(title)[1].split("</section>")[0]
    lines = re.sub(r"<(?!/d).*?>", "", section).split("</dd>")[:-1]
    assert [" ".join(line.split()) for line in lines][1:] == [
        "Old Depot</dt> verdict no clear lead, now must invite; "
        "Band 1: rank 1, now 2; Band 2: rank 2, now 3; Band 3: rank 3, now 4; and 2 more.",
        "New bands</dt> &lt;b&gt;Newcomers&lt;/b&gt;.",
    ]
    assert "Carpa</dt> new, rank 3; Leavers: rank 8, now no rank." in " ".join(lines[0].split())


def test_tickets_are_compared_with_those_of_the_festival_before(report_data: ReportData) -> None:
    """Neither the first festival nor one still on sale can be compared."""
    sales = pd.DataFrame(
        {
            "festival_year": [2018, 2019, 2021, 2022, 2023],
            "sale_month": pd.Timestamp("2018-09-01"),
            "tickets_sold": [1000, 1250, 625, 624, 10],
            "revenue": 1,
            "is_completed": [True, True, True, True, False],
        }
    )
    table = rendered(report_data | {"sales_over_time": sales}).split('id="festivals-table"')[1].split("</table>")[0]
    cells = [re.findall(r"<td.*?>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert [row[1] for row in cells] == [
        "",
        "+25 %",
        "-50 %",
        "0 %",
        "",
    ]


def test_performances_of_a_festival_on_sale_that_have_started_are_said_to_count(report_data: ReportData) -> None:
    shows = report_data["performances"]
    on_sale = report_data["sales_over_time"].query("not is_completed").festival_year.iloc[0]
    begun = shows.head(2).assign(festival_year=on_sale, tickets_sold=[300, 400])
    page = " ".join(rendered(report_data | {"performances": pd.concat([shows, begun])}).split())
    assert "only its 2 performances that have started count in totals and averages, with 700 tickets." in page
    assert f"Completed performances only, 2002 to {on_sale}." in page


def test_near_equals_are_described_by_their_chances(report_data: ReportData) -> None:
    bands = report_data["band_sales"]
    named = bands[(bands.venue_rank == 2) & (bands.verdict == "near-equals")]
    words = (
        f"sure that the best band here is one of these {report.NUMBER_WORDS[len(named)]}; each is probably within 10 %"
    )
    assert f"{chance_text(named.p_best.sum()).capitalize()} {words}" in rendered(report_data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "charts", "headline", "is_on_sale"),
    [
        ("delete from festival.performances", 0, NOTHING_SOLD, False),
        ("delete from festival.performances where performance_start < '2022-01-01'", 2, NOTHING_SOLD, True),
        (
            "delete from festival.performances where id > 1",
            5,
            "One venue sold 100 % of all tickets:",
            False,
        ),
        ("delete from festival.tickets", 2, NOTHING_SOLD, False),
    ],
    ids=["nothing yet", "only on sale", "one performance", "all unsold"],
)
def test_with_little_data_the_page_still_makes_sense(
    tmp_path: Path, *, change: str, charts: int, headline: str, is_on_sale: bool
) -> None:
    orphans = "delete from festival.tickets where performance_id not in (select id from festival.performances)"
    report.report_on(sample_warehouse(tmp_path, change, orphans), tmp_path / "index.html", TIME_ZONE)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count('<div class="chart"') == charts
    assert f"<h1>{headline}" in page
    assert ("is still on sale." in page) == is_on_sale
    assert ("shown, marked, in picture 1;" in page) == is_on_sale
    assert ("Every one of them sold tickets." in page) == (headline == "One venue sold 100 % of all tickets:")
    words = re.sub(r"<(style|script).*?</\1>|<.*?>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(nan|NaN|None|undefined|Infinity)\b", words)
