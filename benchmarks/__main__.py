"""Compare refreshes with other ways to build the same warehouse: `python -m benchmarks --help`."""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from acl_assets.settings import PROJECT_DIR
from benchmarks import page, results
from benchmarks.contenders import CONTENDERS, FULL, REFRESH, SPARK, SPARK_PORT, Arena, Contender
from benchmarks.results import Circumstances, RefreshResult, Run

_WARM_UP_SCALE = 0.01


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen contenders at every scale. Store the results and write the page after each scale."""
    options = _parser().parse_args(arguments)
    arena = Arena(options.work_dir.absolute())
    chosen = [CONTENDERS[name] for name in options.contenders]
    circumstances = Circumstances.now()
    with _spark_cluster(arena, SPARK in options.contenders) as cluster:
        _prepare(arena, chosen, _WARM_UP_SCALE)
        # In the first run dbt parses the project and Dagster creates its tables. Those of an earlier benchmark may have
        # another version.
        for contender in chosen:
            shutil.rmtree(arena.data(contender.name), ignore_errors=True)
            contender.run(arena, _WARM_UP_SCALE, "warm-up")
        for scale in sorted(options.scales):
            taking_part = [contender for contender in chosen if contender.takes_part(scale, max(options.scales))]
            runs = measure(arena, taking_part, scale, options.rounds, cluster)
            equal_rows = compare(arena, taking_part)
            result = RefreshResult(scale, circumstances, _tickets(arena, scale), equal_rows, runs)
            results.store(result, options.results)
            page.write_refresh_page(results.read(RefreshResult, options.results), options.page)
    print(f"Results: {options.results}\nPage:    {options.page}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare refreshes with other ways to build the same warehouse.",
    )
    parser.add_argument(
        "--scales", type=float, nargs="+", default=[0.1, 1.0], help="1 is 3.6 million tickets (0.1 1)", metavar="SCALE"
    )
    parser.add_argument("--rounds", type=int, default=3, help="measured runs per contender (%(default)s)")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="subset (all)")
    parser.add_argument(
        "--work-dir", type=Path, default=PROJECT_DIR / "data" / "benchmarks", help="scratch folder; batches are reused"
    )
    parser.add_argument("--results", type=Path, default=results.REFRESH_FILE, help="file for the results")
    parser.add_argument("--page", type=Path, default=page.REFRESH_PAGE, help="file for the page")
    return parser


def _prepare(arena: Arena, chosen: Sequence[Contender], scale: float) -> None:
    """Write the batches of a scale, and convert the batches from whose source tables a contender starts."""
    kinds = {FULL, *(contender.exports for contender in chosen)}
    converted = {contender.starts_from for contender in chosen if contender.starts_from}
    print(f"Scale {scale:g}: preparing batches ({', '.join(sorted(kinds))})", flush=True)
    arena.run_module("batches", arena.exports(scale, FULL).parent, scale, *sorted(kinds | converted))
    for kind in sorted(converted):
        arena.convert(scale, kind)


def measure(
    arena: Arena, chosen: Sequence[Contender], scale: float, rounds: int, cluster: Sequence[int] = ()
) -> list[Run]:
    """Measure the contenders in turns; `cluster` holds the process ids of the Spark cluster.

    Raises:
        CommandFailedError: a contender failed.
    """
    _prepare(arena, chosen, scale)
    runs: list[Run] = []
    for turn in range(rounds):
        first = turn % len(chosen)
        for contender in [*chosen[first:], *chosen[:first]]:
            servers = cluster if contender.name == SPARK else ()
            usage = contender.run(arena, scale, f"round {turn + 1}", servers)
            runs.append(Run(contender.name, turn + 1, **asdict(usage)))
            print(f"Scale {scale:g}, round {turn + 1}, {contender.name}: {usage.wall_seconds:.1f} s", flush=True)
    return runs


def compare(arena: Arena, chosen: Sequence[Contender], reference: str = REFRESH) -> dict[str, int]:
    """Compare the DuckDB files of the last round with the file of one contender, and return the number of equal rows.

    Raises:
        CommandFailedError: the files differ.
    """
    files = {
        contender.name: arena.data(contender.name) / contender.warehouse for contender in chosen if contender.warehouse
    }
    expected = files.pop(reference, None)
    equal_rows = {name: int(arena.run_module("equality", expected, file)) for name, file in files.items() if expected}
    print(f"Rows equal to {reference}: {equal_rows}", flush=True)
    return equal_rows


def _tickets(arena: Arena, scale: float) -> int:
    manifest = json.loads((arena.exports(scale, FULL) / "later" / "manifest.json").read_bytes())
    return int(manifest["tables"]["tickets"]["rows_at_source"])


@contextmanager
def _spark_cluster(arena: Arena, wanted: bool) -> Iterator[list[int]]:
    """Run a Spark cluster on this machine if wanted, and yield the ids of its processes."""
    if not wanted:
        yield []
        return
    import psutil

    from spark.cluster import running_cluster

    folder = arena.folder / "spark"
    folder.mkdir(parents=True, exist_ok=True)
    with running_cluster(folder, SPARK_PORT):
        yield [child.pid for child in psutil.Process().children()]


if __name__ == "__main__":
    main()
