"""`make run` prints one line per stage, and text of data and checks short and escaped."""

import os
from typing import Any

from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetKey, AssetMaterialization

from acl_assets.refresh import _say, answer_lines, check_line, stage_summary


def check(name: str = "prices", *, passed: bool, warns: bool = False, **options: Any) -> AssetCheckEvaluation:
    severity = AssetCheckSeverity.WARN if warns else AssetCheckSeverity.ERROR
    options = {"metadata": {}, **options}
    return AssetCheckEvaluation(AssetKey(["festival", "tickets"]), name, passed, severity=severity, **options)


def table(name: str, rows: int) -> AssetMaterialization:
    return AssetMaterialization(AssetKey(["festival", name]), metadata={"dagster/row_count": rows})


def test_stage_names_tables_rows_and_share_of_passed_checks() -> None:
    made = [table("tickets", 3_000_000), table("bands", 1_421)]
    assert stage_summary(made, [check(passed=True)]) == "2 tables, 3,001,421 rows, 1 check passed"
    assert stage_summary([], [check(passed=True), check(passed=False, warns=True)]) == "1 of 2 checks passed"
    published = AssetMaterialization("published_warehouse", metadata={"batches": "monday", "bytes": 82_100_000})
    assert stage_summary([published], []) == "monday, 82.1 MB"
    assert stage_summary([], []) == ""


def test_failed_check_is_one_line_with_its_reason() -> None:
    rule = "A price is at least 0. A failure lists the tickets."
    of_dbt = check(passed=False, description=rule, metadata={"dagster_dbt/failed_row_count": 4})
    assert check_line(of_dbt) == "festival/tickets: prices: 4 rows against the rule: A price is at least 0."
    in_error = check(passed=False, description=rule, metadata={"dagster_dbt/failed_row_count": 0})
    assert check_line(in_error) == "festival/tickets: prices: It was not evaluated."
    of_files = check(passed=False, description=rule, metadata={"reason": "tickets.csv line 41\nis \x1b[31mcut short"})
    assert check_line(of_files) == r"festival/tickets: prices: tickets.csv line 41\nis \x1b[31mcut short"
    assert check_line(check(passed=False, description="12 rows, not 13")) == "festival/tickets: prices: 12 rows, not 13"


def test_answer_has_a_line_per_venue_with_its_verdict_and_no_control_characters() -> None:
    verdicts = [
        (1, "Long \x1b[2JMeadow\n", "must invite", "Invite Marigold: the chance is over 99 %."),
        (2, "Riverbend", "no clear lead", "The records cannot tell the 261 bands apart."),
    ]
    assert answer_lines(verdicts) == [
        r"1. Long \x1b[2JMeadow\n: must invite. Invite Marigold: the chance is over 99 %.",
        "2. Riverbend: no clear lead. The records cannot tell the 261 bands apart.",
    ]
    assert answer_lines([]) == ["No completed performance has sold tickets to judge by yet."]


def test_refresh_goes_on_when_nobody_reads_its_output() -> None:
    """As in `make run | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as terminal:
        _say("1. Main Stage: must invite.", stream=terminal)
        _say("2. Meadow: near-equals.", stream=terminal)
