"""Files on object storage: what moves there and back, and what is said when it cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from object_storage import asking_for_permissions, credentials
from processes import free_port

from acl_assets.settings import PROJECT_DIR
from acl_assets.util.object_storage import (
    ObjectStorageError,
    download,
    list_files,
    open_file,
    read_file,
    remove,
    upload,
    write_file,
)

pytestmark = pytest.mark.slow


def test_a_file_comes_back_as_it_went(bucket: str, tmp_path: Path) -> None:
    """Larger than what is sent at once, so that it goes in parts."""
    content = os.urandom(1 << 20) * 51
    (tmp_path / "sent").write_bytes(content)
    upload(tmp_path / "sent", f"{bucket}/a/b/large")
    assert download(f"{bucket}/a/b/large", tmp_path / "new" / "folder" / "received")
    assert (tmp_path / "new" / "folder" / "received").read_bytes() == content
    assert list_files(f"{bucket}/a")["b/large"].size == len(content)


MOVE = """
import sys
from pathlib import Path
from acl_assets.util.object_storage import download, list_files, upload
def most_memory():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
file, url = Path(sys.argv[1]), sys.argv[2]
list_files(url)
before = most_memory()
upload(file, f"{url}/large")
download(f"{url}/large", file)
print(most_memory() - before)
"""


@pytest.mark.exhaustive
def test_memory_does_not_grow_with_the_file(bucket: str, tmp_path: Path) -> None:
    """Exports are larger than a run may be."""
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(160_000_000)
    moved = subprocess.run(
        [sys.executable, "-c", MOVE, tmp_path / "large", bucket],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(moved.stdout) < 80_000_000


def test_files_are_listed_as_they_are_now(bucket: str) -> None:
    """Others write and remove there too, at any time."""
    write_file(f"{bucket}/folder/one", b"1")
    write_file(f"{bucket}/folder-beside/two", b"2")
    assert list(list_files(f"{bucket}/folder")) == ["one"]
    somebody_else = fsspec.filesystem("s3", skip_instance_cache=True)
    somebody_else.pipe_file(f"{bucket}/folder/one", b"other")
    with open_file(f"{bucket}/folder/one") as stream:
        assert stream.read() == b"other"
    assert list_files(f"{bucket}/folder")["one"].size == 5
    remove([f"{bucket}/folder/one", f"{bucket}/folder/never-there"])
    assert list_files(f"{bucket}/folder") == {}


def test_parts_of_a_file_can_be_read(bucket: str) -> None:
    write_file(f"{bucket}/numbers", b"0123456789")
    with open_file(f"{bucket}/numbers") as stream:
        stream.seek(3)
        assert stream.read(4) == b"3456"


def test_nothing_is_left_of_a_file_that_is_not_there(bucket: str, tmp_path: Path) -> None:
    assert not download(f"{bucket}/nothing", tmp_path / "received")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bucket_is_named(bucket: str) -> None:
    with pytest.raises(ObjectStorageError, match=f"Cannot list {bucket}-2/acl: .* If the bucket {bucket}-2 is missing"):
        list_files(f"{bucket}-2/acl")


def test_missing_credentials_are_named(s3_address: str, bucket: str) -> None:
    with (
        credentials(s3_address, AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None),
        pytest.raises(ObjectStorageError, match=f"Cannot write {bucket}/file: .* Set AWS_ACCESS_KEY_ID and"),
    ):
        write_file(f"{bucket}/file", b"")


def test_refused_credentials_are_told_what_they_need(s3_address: str, bucket: str) -> None:
    with (
        asking_for_permissions(s3_address),
        pytest.raises(ObjectStorageError, match=f"Cannot read {bucket}/file: .* were refused, or may not .*GetObject"),
    ):
        read_file(f"{bucket}/file", most_bytes=1)


def test_a_server_that_does_not_answer_is_named() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with (
        credentials(address, AWS_MAX_ATTEMPTS="1"),
        pytest.raises(ObjectStorageError, match=f"Cannot list s3://bucket/acl: .*{address}.* Check the network"),
    ):
        list_files("s3://bucket/acl")


WITHOUT_THE_EXTRA = """
import sys
sys.modules["s3fs"] = None
import acl_assets.source_tables.assets
assert "fsspec" not in sys.modules
from acl_assets.util.object_storage import list_files
list_files("s3://bucket/acl")
"""


def test_the_extra_is_loaded_when_a_url_is_used_and_named_when_it_is_missing() -> None:
    """Who keeps everything on one machine neither needs it nor waits for it."""
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert "Cannot list s3://bucket/acl" in process.stderr.splitlines()[-1]
    assert "install acl_assets[object-storage]" in process.stderr.splitlines()[-1]
