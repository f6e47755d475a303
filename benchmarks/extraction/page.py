"""The page docs/benchmarks_extraction.md and its plot, made from results.

What belongs here: tables, sentences that follow from a figure, the plot. What does not: text that holds whatever was
measured (`page.md.jinja`), and figures from anywhere but the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.extraction.contenders import CONTENDERS, EXTRACT, EXTRACT_UNTHROTTLED, PLAIN_COPY
from benchmarks.extraction.results import BatchRun, Cost, Incremental, Latency
from benchmarks.page import Goal, spread_in_words, write_from_template
from benchmarks.results import Spread

TEMPLATE = Path(__file__).with_name("page.md.jinja")
IMAGE = Path("images") / "benchmarks_extraction.svg"
LATENCY_LIMIT = 1.05
_OURS = (EXTRACT, EXTRACT_UNTHROTTLED)
_WHOSE_COLOURS = {"ours": "#0072B2", "others": "#999999"}
_CPU_COLOURS = {"server": "#D55E00", "extract": "#0072B2", "refresh": "#56B4E9"}


def write_page(latency: Latency | None, cost: Cost | None, incremental: Incremental | None, docs_dir: Path) -> Path:
    """Write page and plot of the parts that have been measured below `docs_dir`, and return the page.

    Raises:
        ValueError: nothing has been measured.
    """
    if not (latency or cost or incremental):
        raise ValueError("Nothing has been measured, so there is nothing to show.")
    return write_from_template(
        TEMPLATE,
        docs_dir / "benchmarks_extraction.md",
        {docs_dir / IMAGE: draw(latency, cost, incremental)},
        image=IMAGE.as_posix(),
        latency=latency,
        latency_rows=_latency_rows(latency) if latency else [],
        load=_load(latency) if latency else None,
        cost=cost,
        cost_rows=_cost_rows(cost) if cost else [],
        incremental=incremental,
        batch_tables=[(scale, _batch_rows(incremental, scale)) for scale in incremental.scales] if incremental else [],
        ratio_rows=_ratio_rows(incremental) if incremental else [],
        goals=list(_goals(latency, cost, incremental)),
    )


def _latency_rows(latency: Latency) -> list[list[str]]:
    rows = []
    for contender in CONTENDERS:
        pairs = latency.of(contender)
        ratio, ratio_99 = latency.ratio(contender, 95), latency.ratio(contender, 99)
        reading = Spread.of(pair.during.reading_share for pair in pairs)
        if ratio and ratio_99 and reading:
            medians = (_median_latencies(latency, contender, percentile) for percentile in (50, 95, 99))
            ratios = (spread_in_words(ratio, 2), f"{ratio_99.median:.2f}")
            rows.append([contender, *medians, *ratios, f"{reading.median:.0%}", str(len(pairs))])
    return rows


def _median_latencies(latency: Latency, contender: str, percentile: int) -> str:
    """Without and with the contender."""
    pairs = latency.of(contender)
    without = Spread.of(pair.without.latency_ms[percentile] for pair in pairs)
    during = Spread.of(pair.during.latency_ms[percentile] for pair in pairs)
    return f"{without.median:.2f}, {during.median:.2f}" if without and during else ""


def _load(latency: Latency) -> Spread | None:
    """How much of its processors the server used while nobody read."""
    return Spread.of(pair.without.server_cpu_share for pair in latency.pairs)


def _cost_rows(cost: Cost) -> list[list[str]]:
    rows = []
    for contender in CONTENDERS:
        server = cost.spread(contender, lambda run: run.server_cpu_seconds / cost.rows * 1e6)
        client = cost.spread(contender, lambda run: run.client_cpu_seconds / cost.rows * 1e6)
        wall = cost.spread(contender, lambda run: run.wall_seconds)
        memory = cost.spread(contender, lambda run: run.peak_memory_bytes / 1e6)
        size = cost.spread(contender, lambda run: run.output_bytes / 1e6)
        ratio = cost.server_cpu_ratio(contender, PLAIN_COPY)
        if server and client and wall and memory and size:
            figures = (f"{server.median:.2f}", spread_in_words(ratio, 2) if ratio else "", f"{client.median:.2f}")
            sizes = (f"{memory.median:,.0f}", f"{size.median:,.0f}")
            rows.append([contender, *figures, spread_in_words(wall), *sizes])
    return rows


def _batch_rows(incremental: Incremental, scale: float) -> list[list[str]]:
    rows = []
    for run in sorted(incremental.runs, key=lambda run: (run.kind, run.round)):
        if run.scale == scale:
            times = (run.extract_cpu_seconds, run.server_cpu_seconds, run.refresh_cpu_seconds, run.cpu_seconds)
            peaks = (run.extract_peak_bytes, run.refresh_peak_bytes)
            rows.append(
                [
                    *(run.kind, f"{run.rows:,}", *(f"{seconds:.1f}" for seconds in times), f"{run.wall_seconds:.1f}"),
                    *(f"{peak / 1e6:,.0f}" for peak in peaks),
                ]
            )
    return rows


def _extract_cpu_seconds(run: BatchRun) -> float:
    return run.extract_cpu_seconds + run.server_cpu_seconds


_COMPARED = {
    "extract, CPU time of both sides": _extract_cpu_seconds,
    "refresh, CPU time": lambda run: run.refresh_cpu_seconds,
    "end to end, CPU time": lambda run: run.cpu_seconds,
    "end to end, wall time": lambda run: run.wall_seconds,
}


def _ratio_rows(incremental: Incremental) -> list[list[str]]:
    rows = []
    for text, quantity in _COMPARED.items():
        ratios = [incremental.ratio(scale, quantity) for scale in incremental.scales]
        rows.append([text, *(spread_in_words(ratio, 2) if ratio else "" for ratio in ratios)])
    return rows


def _goals(latency: Latency | None, cost: Cost | None, incremental: Incremental | None) -> Iterator[Goal]:
    if latency and (ratio := latency.ratio(EXTRACT, 95)):
        yield Goal("buyers' p95 during an extract, in their p95 without", LATENCY_LIMIT, round(ratio.median, 3), "")
    if cost and (ratio := cost.server_cpu_ratio(EXTRACT, PLAIN_COPY)):
        yield Goal("server's CPU time of an extract, in that of plain COPY", 1.3, round(ratio.median, 2), "")
    if cost and (memory := cost.spread(EXTRACT, lambda run: run.peak_memory_bytes / 1e6)):
        yield Goal(f"peak memory of an extract at scale {cost.scale:g}", 300, round(memory.median), " MB")
    if incremental:
        for scale in incremental.scales:
            if memory := incremental.spread(scale, "full", lambda run: run.extract_peak_bytes / 1e6):
                text = f"peak memory of an extract at scale {scale:g}, unthrottled"
                yield Goal(text, 300, round(memory.highest), " MB")
        if ratio := incremental.ratio(10, lambda run: run.cpu_seconds):
            text = "1 % incremental at scale 10, end to end, in CPU times of the full batch"
            yield Goal(text, 0.35, round(ratio.median, 2), "")


def draw(latency: Latency | None, cost: Cost | None, incremental: Incremental | None) -> Any:
    """Draw what buyers notice, what the server spends, and what increments save, as an Altair chart."""
    import altair as alt

    charts = [
        *([_draw_latency(latency)] if latency else []),
        *([_draw_cost(cost)] if cost else []),
        *([_draw_incremental(incremental)] if incremental else []),
    ]
    return (
        alt.vconcat(*charts)
        .resolve_scale(color="independent")
        .configure(background="white", padding=12, font="sans-serif")
        .configure_view(stroke=None)
    )


def _draw_latency(latency: Latency) -> Any:
    import altair as alt

    ratios = [
        {"contender": pair.contender, "ratio": pair.ratio(95), "whose": _whose(pair.contender)}
        for pair in latency.pairs
    ]
    base = alt.Chart(alt.Data(values=ratios)).encode(
        y=alt.Y("contender:N", title=None, sort=list(CONTENDERS)), color=_whose_colour()
    )
    each = base.mark_point(size=30).encode(
        x=alt.X("ratio:Q", title=None, scale=alt.Scale(type="log", nice=False, padding=10))
    )
    middle = base.mark_tick(thickness=3, size=16).encode(x="median(ratio):Q")
    limit = alt.Chart(alt.Data(values=[{"ratio": LATENCY_LIMIT}])).mark_rule(strokeDash=[4, 3]).encode(x="ratio:Q")
    title = f"buyers' p95 with a reader, in p95 without (dashed: the limit of {LATENCY_LIMIT:g})"
    return alt.layer(limit, each, middle).properties(title=title, width=480, height=alt.Step(24))


def _draw_cost(cost: Cost) -> Any:
    import altair as alt

    seconds = [
        {
            "contender": run.contender,
            "seconds": run.server_cpu_seconds / cost.rows * 1e6,
            "whose": _whose(run.contender),
        }
        for run in cost.runs
    ]
    bars = (
        alt.Chart(alt.Data(values=seconds))
        .mark_bar()
        .encode(
            x=alt.X("median(seconds):Q", title=None),
            y=alt.Y("contender:N", title=None, sort=list(CONTENDERS)),
            color=_whose_colour(),
        )
    )
    return bars.properties(title="server's CPU seconds per million rows", width=480, height=alt.Step(24))


def _whose(contender: str) -> str:
    return "ours" if contender in _OURS else "others"


def _whose_colour() -> Any:
    import altair as alt

    return alt.Color(
        "whose:N", legend=None, scale=alt.Scale(domain=list(_WHOSE_COLOURS), range=list(_WHOSE_COLOURS.values()))
    )


def _draw_incremental(incremental: Incremental) -> Any:
    import altair as alt

    parts = [
        {
            "batch": f"scale {run.scale:g}, {run.kind}",
            "part": part,
            "seconds": seconds / len(incremental.of(run.scale, run.kind)),
        }
        for run in incremental.runs
        for part, seconds in (
            ("server", run.server_cpu_seconds),
            ("extract", run.extract_cpu_seconds),
            ("refresh", run.refresh_cpu_seconds),
        )
    ]
    batches = [f"scale {scale:g}, {kind}" for scale in incremental.scales for kind in ("full", "incremental")]
    bars = (
        alt.Chart(alt.Data(values=parts))
        .mark_bar()
        .encode(
            x=alt.X("sum(seconds):Q", title=None),
            y=alt.Y("batch:N", title=None, sort=batches),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=list(_CPU_COLOURS), range=list(_CPU_COLOURS.values())),
                legend=alt.Legend(orient="bottom"),
            ),
        )
    )
    title = "CPU seconds from the ticketing database to the report, mean of the rounds"
    return bars.properties(title=title, width=480, height=alt.Step(24))
