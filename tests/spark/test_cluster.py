"""The Spark cluster to test on runs until it is stopped, and no process of it outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from refreshes import environment, festival_settings, wait_until

from acl_assets.settings import PROJECT_DIR
from spark import cluster as spark_cluster
from spark import guard as spark_guard
from spark.cluster import SparkClusterError, cluster_folder, running_cluster, stop_cluster

pytestmark = pytest.mark.server


@pytest.mark.exhaustive
@pytest.mark.spark
def test_cluster_runs_until_it_is_stopped_from_elsewhere(tmp_path: Path) -> None:
    settings = festival_settings(tmp_path / "acl copy [ä] (1)")
    folder = cluster_folder(settings)
    command = [sys.executable, "-m", "spark.cluster", "start", "--port", "0"]
    variables = {**environment(settings), "ACL_TICKETING_DSN": "postgresql://me:geheim@db/ticketing"}
    with subprocess.Popen(command, cwd=PROJECT_DIR, env=variables, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        try:
            next(line for line in starter.stdout if "Ctrl-C" in line)
            processes = java_processes_in(folder)
            assert len(processes) >= 4
            assert "geheim" not in " ".join(str(process.environ()) for process in processes)
            with pytest.raises(SparkClusterError, match=f"runs already, in process {starter.pid}"):
                running_cluster(folder).__enter__()
        finally:
            assert stop_cluster(folder)
        assert starter.wait() == 0
    assert not java_processes_in(folder)
    assert not stop_cluster(folder)


def java_processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.name() == "java" and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def test_a_process_of_the_cluster_ends_with_its_killed_starter() -> None:
    starter = (
        "import subprocess, sys, time\n"
        f"command = [sys.executable, {spark_guard.__file__!r}, 'sh', '-c', 'echo $$; exec sleep 600']\n"
        "guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        guarded = psutil.Process(int(process.stdout.readline()))
        assert guarded.is_running()
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not guarded.is_running(), "the guarded process has ended", at_most_seconds=30)


def test_missing_installation_or_java_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SparkClusterError, match=r"make spark-cluster-install|needs Java 17 or newer"):
        running_cluster(tmp_path / "cluster").__enter__()
    monkeypatch.setattr(spark_cluster, "_ENVIRONMENT", tmp_path)
    with pytest.raises(SparkClusterError, match="run: make spark-cluster-install"):
        running_cluster(tmp_path / "cluster").__enter__()
