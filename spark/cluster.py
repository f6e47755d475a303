"""Run a Spark cluster on this machine for tests: a master, workers and a Spark Connect server.

The processes use the environment `spark/.venv`. Command line: `python -m spark.cluster --help`.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from acl_assets.settings import PROJECT_DIR, Settings, SettingsError
from acl_assets.util.locks import LockHeldError, end_holder, held_lock
from acl_assets.util.text import end_of_log
from spark import guard

_ENVIRONMENT = PROJECT_DIR / "spark" / ".venv"
_HOST = "127.0.0.1"
_JAVA_AT_LEAST = 17
# Settings of the pipeline, such as the password of the ticketing database, and settings of another Spark.
_NOT_HANDED_ON = ("ACL_", "DAGSTER_", "PYSPARK_", "PYTHON", "SPARK_", "SUPERSET")
# Heap of the master and the workers, which only manage executors, and of the Spark Connect server, which plans queries.
_DAEMON_MEMORY_MB = 256
_DRIVER_MEMORY_MB = 1024
# A session has a few hundred queries. Full compilation would take half of its CPU time.
_BRIEF_LIFE = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

_START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1


class SparkClusterError(Exception):
    """The cluster is not installed, or cannot start or stop. The message names the folder and the log."""


@dataclass(frozen=True)
class Workers:
    """Number and size of the workers. The heap of an executor is `memory_mb`.

    Shuffles have 16 partitions per core, so that a partition of the fact fits in memory. Spark merges small ones.
    """

    count: int = 2
    cores: int = 1
    memory_mb: int = 2048
    partitions_per_core: int = 16


@dataclass(frozen=True)
class SparkCluster:
    """A cluster whose workers have registered and whose Spark Connect server answers.

    Attributes:
        remote: address of the Spark Connect server, in the format of `ACL_SPARK_REMOTE`.
        folder: folder of the warehouse, the logs and the working files.
        interfaces: addresses of the web interfaces, for `master` and `application`.
    """

    remote: str
    folder: Path
    interfaces: Mapping[str, str]
    _processes: Mapping[str, subprocess.Popen[bytes]] = field(repr=False)

    @property
    def log_folder(self) -> Path:
        """Return the folder with one log per process."""
        return _log_folder(self.folder)

    def wait(self) -> None:
        """Wait until one of the processes ends unexpectedly.

        Raises:
            SparkClusterError: a process ended.
        """
        while True:
            _require_running(self._processes, self.folder)
            time.sleep(1.0)


def cluster_folder(settings: Settings) -> Path:
    """Return the folder of the cluster of an installation."""
    return settings.data_dir / "spark"


@contextmanager
def running_cluster(
    folder: Path,
    port: int | None = None,
    workers: Workers = Workers(),
    configuration: Mapping[str, str] = MappingProxyType({}),
    log: Callable[[str], None] = lambda message: None,
) -> Iterator[SparkCluster]:
    """Run a cluster on 127.0.0.1 until the block, or this process, ends.

    The warehouse stays in the folder, and the next cluster of the folder uses it.

    Args:
        folder: folder of the warehouse, the logs and the working files.
        port: port of the Spark Connect server; a free port if None.
        workers: number and size of the workers.
        configuration: further properties of Spark.
        log: receives progress messages.

    Raises:
        SparkClusterError: the cluster is not installed, Java is missing, another cluster runs in the folder, the port
            is in use, or the cluster does not start.
    """
    _require_installed()
    java = _java()
    _require_free(port)
    with ExitStack() as stack:
        stack.enter_context(_locked(folder))
        for scratch in ("work", "scratch"):
            shutil.rmtree(folder / scratch, ignore_errors=True)
        _log_folder(folder).mkdir(exist_ok=True)
        processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(_end, processes)
        environment = _environment(folder, java)

        def start(name: str, command: Sequence[str | Path], memory_mb: int = _DAEMON_MEMORY_MB) -> None:
            memory = {"SPARK_DAEMON_MEMORY": f"{memory_mb}m"}
            processes[name] = _start(name, command, folder, {**environment, **memory})

        def logged(name: str, pattern: str) -> str:
            return _wait_for_log(processes, folder, name, pattern)

        log("Starting the master ...")
        start("master", _daemon("master.Master", "--port", "0", "--webui-port", "0"))
        master = logged("master", r"Starting Spark master at (spark://\S+)")
        interface = logged("master", r"Bound MasterWebUI to .* started at \S+:(\d+)")
        master_interface = f"http://{_HOST}:{interface}"
        log(f"Starting {workers.count} workers and the Spark Connect server ...")
        for number in range(1, workers.count + 1):
            size = ("--cores", str(workers.cores), "--memory", f"{workers.memory_mb}m")
            work_dir = ("--work-dir", str(folder / "work" / f"worker-{number}"))
            start(f"worker-{number}", _daemon("worker.Worker", "--webui-port", "0", *size, *work_dir, master))
        start("connect", _connect_server(folder, master, port, workers, configuration), _DRIVER_MEMORY_MB)
        _wait_for_workers(processes, folder, master_interface, workers.count)
        bound = logged("connect", r"Spark Connect server started at: \S+:(\d+)")
        _wait_until_answers(processes, folder, int(bound))
        application = logged("connect", r"Successfully started service 'SparkUI' on port (\d+)")
        interfaces = {"master": master_interface, "application": f"http://{_HOST}:{application}"}
        yield SparkCluster(f"sc://{_HOST}:{bound}", folder, interfaces, processes)


def stop_cluster(folder: Path) -> bool:
    """Stop the cluster of a folder that another process runs.

    Returns:
        Whether a cluster ran there.

    Raises:
        SparkClusterError: the cluster did not stop in time.
    """
    try:
        return end_holder(folder / "cluster.lock", _STOP_SECONDS)
    except TimeoutError:
        raise SparkClusterError(
            f"The cluster of {folder} did not stop within {_STOP_SECONDS:.0f} s. Read the logs in "
            f"{_log_folder(folder)}, then run again: make spark-cluster-stop"
        ) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(held_lock(folder / "cluster.lock"))
        except LockHeldError as error:
            raise SparkClusterError(
                f"The cluster of {folder} runs already, in process {error}. Use it, or stop it with: make "
                "spark-cluster-stop"
            ) from None
        yield


# Requirements -----------------------------------------------------------------------------------------------------


def _require_installed() -> None:
    if not (_ENVIRONMENT / "installed").exists():
        raise SparkClusterError(f"Spark is not installed in {_ENVIRONMENT}; run: make spark-cluster-install")


def _spark_home() -> Path:
    (home,) = _ENVIRONMENT.glob("lib/python3*/site-packages/pyspark")
    return home


def _java() -> Path:
    """Return the home of an installed Java that Spark supports."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    homes += [Path(on_path).resolve().parents[1]] if on_path else []
    for home in homes:
        # The first line ends with the version in quotes, such as "17.0.15" or "21".
        output = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, check=False).stderr
        version = re.search(r'version "(\d+)', output)
        if version and int(version[1]) >= _JAVA_AT_LEAST:
            return home
    raise SparkClusterError(
        f"Spark needs Java {_JAVA_AT_LEAST} or newer, and neither PATH nor JAVA_HOME has one. On Debian and Ubuntu "
        "install default-jre-headless."
    )


def _require_free(port: int | None) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port or 0))
        except (OSError, OverflowError) as error:
            raise SparkClusterError(
                f"Port {port} of {_HOST} cannot be used: {error}. Choose another one: make spark-cluster PORT=15003"
            ) from error


# Processes --------------------------------------------------------------------------------------------------------


def _daemon(name: str, *arguments: str) -> list[str | Path]:
    return [_spark_home() / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", "--host", _HOST, *arguments]


def _connect_server(
    folder: Path, master: str, port: int | None, workers: Workers, configuration: Mapping[str, str]
) -> list[str | Path]:
    properties = {
        "spark.connect.grpc.binding.address": _HOST,
        "spark.connect.grpc.binding.port": port or 0,
        "spark.driver.host": _HOST,
        "spark.driver.bindAddress": _HOST,
        "spark.executor.memory": f"{workers.memory_mb}m",
        # Not `as_uri`: Hadoop does not decode %20 in a path.
        "spark.sql.warehouse.dir": f"file://{folder / 'warehouse'}",
        # The metastore lets tables outlive the cluster, as on a permanent cluster. Its path is relative to the working
        # directory of the server, because Derby cannot escape a semicolon in a path.
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:;databaseName=metastore;create=true",
        # Spark's default of 200 is for hundreds of cores.
        "spark.sql.shuffle.partitions": workers.partitions_per_core * workers.count * workers.cores,
        # The queries of dbt's threads share the cores, so that they do not wait for each other.
        "spark.scheduler.mode": "FAIR",
        "spark.ui.port": 0,
        **configuration,
    }
    options = [text for name, value in properties.items() for text in ("--conf", f"{name}={value}")]
    return [
        *(_spark_home() / "bin" / "spark-submit", "--master", master, "--name", "acl_assets"),
        *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
        *options,
        "spark-internal",
    ]


def _environment(folder: Path, java: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_HANDED_ON)}
    scratch = _java_property("java.io.tmpdir", folder / "scratch")
    metastore_log = _java_property("derby.stream.error.file", _log_folder(folder) / "metastore.log")
    return {
        **kept,
        "JAVA_HOME": str(java),
        "SPARK_HOME": str(_spark_home()),
        "SPARK_LOCAL_IP": _HOST,
        "SPARK_LOCAL_DIRS": str(folder / "scratch"),
        "SPARK_DAEMON_JAVA_OPTS": f"{_BRIEF_LIFE} -Dspark.master.rest.enabled=false {scratch}",
        "SPARK_SUBMIT_OPTS": f"{_BRIEF_LIFE} {scratch} {metastore_log}",
    }


def _java_property(name: str, path: Path) -> str:
    """Return a quoted Java option, because Spark's launcher splits options at spaces outside quotes."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"-D{name}={escaped}"'


def _start(
    name: str, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    (folder / "scratch").mkdir(exist_ok=True)
    with _log_file(folder, name).open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-P", guard.__file__, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # Only this process handles Ctrl-C; it stops the others in order.
            start_new_session=True,
        )


def _end(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Stop the processes in reverse order of their start, because later ones use earlier ones."""
    for process in reversed(list(processes.values())):
        if process.stdin:
            process.stdin.close()
        process.wait()


def _log_folder(folder: Path) -> Path:
    return folder / "logs"


def _log_file(folder: Path, name: str) -> Path:
    return _log_folder(folder) / f"{name}.log"


# Waiting ----------------------------------------------------------------------------------------------------------


def _require_running(processes: Mapping[str, subprocess.Popen[bytes]], folder: Path) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise SparkClusterError(
                f"Spark's process {name} ended unexpectedly with exit code {process.returncode}. "
                f"{end_of_log(_log_file(folder, name))}"
            )


def _wait(
    processes: Mapping[str, subprocess.Popen[bytes]], folder: Path, happened: Callable[[], bool], what: str
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not happened():
        _require_running(processes, folder)
        if time.monotonic() > deadline:
            raise SparkClusterError(f"After {_START_SECONDS:.0f} s {what}. Read the logs in {_log_folder(folder)}.")
        time.sleep(_POLL_SECONDS)


def _wait_for_log(processes: Mapping[str, subprocess.Popen[bytes]], folder: Path, name: str, pattern: str) -> str:
    """Wait for a pattern in the log of a process and return its first group."""
    found: list[str] = []

    def is_logged() -> bool:
        match = re.search(pattern, _log_file(folder, name).read_text(errors="replace"))
        found.extend(match.groups() if match else ())
        return bool(match)

    _wait(processes, folder, is_logged, f"Spark's process {name} is not ready")
    return found[0]


def _wait_for_workers(
    processes: Mapping[str, subprocess.Popen[bytes]], folder: Path, interface: str, workers: int
) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def have_registered() -> bool:
        with suppress(OSError), direct.open(f"{interface}/json/", timeout=_START_SECONDS) as answer:
            return bool(json.load(answer)["aliveworkers"] == workers)
        return False

    _wait(processes, folder, have_registered, f"the {workers} workers have not registered")


def _wait_until_answers(processes: Mapping[str, subprocess.Popen[bytes]], folder: Path, port: int) -> None:
    # The HTTP/2 preface and settings of a gRPC client. Only a server that is ready answers; an open port is not enough.
    greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)

    def answers() -> bool:
        with suppress(OSError), socket.create_connection((_HOST, port), timeout=1.0) as connection:
            connection.sendall(greeting)
            return bool(connection.recv(1))
        return False

    _wait(processes, folder, answers, "the Spark Connect server does not answer")


# Command line -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options, cluster_folder(Settings.from_environment())))
    except (SettingsError, SparkClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m spark.cluster", description="Run a Spark cluster on this machine.")
    commands = parser.add_subparsers(title="commands", required=True)
    start = commands.add_parser("start", help="run master, workers and Spark Connect server, until Ctrl-C")
    start.set_defaults(run=_run_until_interrupted)
    start.add_argument("--port", type=int, default=15002, help="port of Spark Connect; 0 for a free port (%(default)s)")
    start.add_argument("--workers", type=int, default=2, help="number of workers (%(default)s)")
    start.add_argument("--worker-cores", type=int, default=1, help="cores per worker (%(default)s)")
    start.add_argument("--worker-memory", type=int, default=2048, help="memory per worker in MB (%(default)s)")
    stop = commands.add_parser("stop", help="stop the cluster that another process runs")
    stop.set_defaults(run=_stop)
    return parser


def _run_until_interrupted(options: argparse.Namespace, folder: Path) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        workers = Workers(options.workers, options.worker_cores, options.worker_memory)
        with running_cluster(folder, options.port or None, workers, log=_print) as cluster:
            _print(_how_to_use(cluster))
            cluster.wait()
    except KeyboardInterrupt:
        _print("The Spark cluster has stopped. Its warehouse is kept.")
    return 0


def _how_to_use(cluster: SparkCluster) -> str:
    return (
        f"The Spark cluster is ready.\n"
        f"Logs:            {cluster.log_folder}\n"
        f"Master:          {cluster.interfaces['master']}\n"
        f"Spark Connect:   {cluster.interfaces['application']}\n"
        "To build on it, in another terminal:\n"
        f"  export ACL_DBT_TARGET=spark ACL_SPARK_REMOTE={cluster.remote}\n"
        "  make run\n"
        "Stop it with Ctrl-C or make spark-cluster-stop."
    )


def _stop(_options: argparse.Namespace, folder: Path) -> int:
    _print("The Spark cluster has stopped." if stop_cluster(folder) else "No Spark cluster of this installation runs.")
    return 0


def _print(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
