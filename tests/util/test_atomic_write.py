"""Files are replaced as a whole, reach the disk, and survive a write that fails."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from acl_assets.util.atomic_write import write_atomically


def test_text_and_bytes_replace_the_file(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_atomically(target, "ä\n")
    assert target.read_bytes() == "ä\n".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    write_atomically(target, b"\xff\x00", mode=0o600)
    assert target.read_bytes() == b"\xff\x00"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_file_and_folder_are_flushed_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "state.json"
    flushed: list[int] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(target, "new")
    assert flushed == [target.stat().st_ino, tmp_path.stat().st_ino]


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "state.json"
    target.write_text("old")

    def disk_is_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
