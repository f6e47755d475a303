"""Files are replaced as a whole, reach the disk, and survive a write that fails."""

import os
import stat
from pathlib import Path

import pytest

from acl_assets.util.atomic_write import write_atomically


def test_file_is_replaced_and_flushed_to_disk_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "state.json"
    target.write_text("old")
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    write_atomically(target, "ä", mode=0o600)
    assert target.read_bytes() == "ä".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
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
