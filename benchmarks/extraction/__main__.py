"""The command line: measure the chosen parts, keep what they found, make page and plot of all that is kept.

What belongs here: the order of things. What does not: how anything is measured, compared or shown.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from acl_assets.settings import PROJECT_DIR, Settings
from benchmarks.extraction import cost, incremental, latency, page, results
from benchmarks.extraction.contenders import CONTENDERS, PLAIN_COPY, Contender
from benchmarks.extraction.results import Cost, Incremental, Latency
from benchmarks.extraction.source import open_source
from benchmarks.measuring import call_apart
from benchmarks.results import scales

LATENCY, COST, INCREMENTAL = PARTS = ("latency", "cost", "incremental")
DEFAULT_SCALES = (1.0, 10.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, and show all that has been measured."""
    options = _parser().parse_args(arguments)
    work_dir = (options.work_dir or Settings.from_environment().data_dir / "benchmarks" / "extraction").absolute()
    chosen = [CONTENDERS[name] for name in options.only]
    if {LATENCY, COST} & set(options.part):
        _measure_readers(options, chosen, work_dir)
    if INCREMENTAL in options.part:
        measured = incremental.measure(options.scales, options.rounds, work_dir / "servers", work_dir / INCREMENTAL)
        call_apart(results.write, measured, work_dir / "incremental.json")
    print(f"Results: {work_dir}/*.json\nPage:    {_show(work_dir, options.docs_dir)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extraction",
        description="Measure what extracts cost: the buyers, the server, and with increments. Every part that was "
        "measured last time and not now stays on the page as it was.",
    )
    parser.add_argument(
        "--part", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure (all; may be none)"
    )
    parser.add_argument(
        "--scale", type=float, default=DEFAULT_SCALES[0], help="of latency and cost; 1 is 3.6 million tickets (1)"
    )
    parser.add_argument("--scales", type=scales, default=DEFAULT_SCALES, help="of incremental, with commas (1,10)")
    parser.add_argument("--rounds", type=int, default=2, help="of everything (%(default)s)")
    parser.add_argument(
        "--block-seconds", type=float, default=20.0, help="length of a block of purchases (%(default)g)"
    )
    parser.add_argument("--rate", type=float, help="purchases a second (40 %% of what the server can do)")
    parser.add_argument(
        "--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="readers of latency and cost (all)"
    )
    parser.add_argument("--work-dir", type=Path, help="scratch space (default: $ACL_DATA_DIR/benchmarks/extraction)")
    parser.add_argument(
        "--docs-dir", type=Path, help="where the page goes (docs/; below --work-dir when something was left out)"
    )
    return parser


def _measure_readers(options: argparse.Namespace, chosen: Sequence[Contender], work_dir: Path) -> None:
    server_dir = work_dir / "servers" / f"readers-{options.scale:g}"
    shutil.rmtree(server_dir, ignore_errors=True)
    with open_source(server_dir, options.scale) as source:
        # First the part that leaves the source as it is.
        if COST in options.part:
            found = cost.measure(source, chosen, options.rounds, work_dir / COST)
            call_apart(results.write, found, work_dir / "cost.json")
        if LATENCY in options.part:
            plan = latency.Plan(options.rounds, options.block_seconds, options.rate)
            readers = [contender for contender in chosen if contender.name != PLAIN_COPY]
            measured = latency.measure(source, readers, plan, work_dir / LATENCY)
            call_apart(results.write, measured, work_dir / "latency.json")
    shutil.rmtree(server_dir)


def _show(work_dir: Path, docs_dir: Path | None) -> Path:
    """Write the page of all parts; where it is not said, into docs/ only when nothing has been left out."""
    measured = (
        results.read(Latency, work_dir / "latency.json"),
        results.read(Cost, work_dir / "cost.json"),
        results.read(Incremental, work_dir / "incremental.json"),
    )
    complete = results.are_complete(*measured, CONTENDERS, DEFAULT_SCALES)
    return page.write_page(*measured, docs_dir or (PROJECT_DIR / "docs" if complete else work_dir / "docs"))


if __name__ == "__main__":
    main()
