"""Files on object storage: transfer, listing and errors."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from object_storage import asking_for_permissions, credentials
from processes import free_port

from acl_assets.settings import PROJECT_DIR
from acl_assets.util import object_storage
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


def test_file_comes_back_as_it_went(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger than what is sent at once, so that it goes in parts."""
    monkeypatch.setattr(object_storage, "_PART_BYTES", 5 << 20)
    content = os.urandom(1 << 20) * 11
    (tmp_path / "sent").write_bytes(content)
    upload(tmp_path / "sent", f"{bucket}/a/b/large")
    assert download(f"{bucket}/a/b/large", tmp_path / "new" / "received")
    assert (tmp_path / "new" / "received").read_bytes() == content
    assert list_files(f"{bucket}/a")["b/large"].size == len(content)
    with open_file(f"{bucket}/a/b/large") as stream:
        stream.seek(3)
        assert stream.read(4) == content[3:7]
    assert not download(f"{bucket}/nothing", tmp_path / "empty" / "received")
    assert list((tmp_path / "empty").iterdir()) == []


def test_files_are_listed_as_they_are_now(bucket: str) -> None:
    """Others write and remove there too, at any time."""
    write_file(f"{bucket}/folder/one", b"1")
    write_file(f"{bucket}/folder-beside/two", b"2")
    assert list(list_files(f"{bucket}/folder")) == ["one"]
    fsspec.filesystem("s3", skip_instance_cache=True).pipe_file(f"{bucket}/folder/one", b"other")
    assert read_file(f"{bucket}/folder/one", most_bytes=4) == b"othe"
    assert list_files(f"{bucket}/folder")["one"].size == 5
    remove([f"{bucket}/folder/one", f"{bucket}/folder/never-there"])
    assert list_files(f"{bucket}/folder") == {}


def test_missing_bucket_is_named(bucket: str) -> None:
    with pytest.raises(ObjectStorageError, match=f"Cannot list {bucket}-2/acl: .* If the bucket {bucket}-2 is missing"):
        list_files(f"{bucket}-2/acl")


def test_missing_and_refused_credentials_are_named_with_what_they_need(s3_address: str, bucket: str) -> None:
    with (
        credentials(s3_address, AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None),
        pytest.raises(ObjectStorageError, match=f"Cannot write {bucket}/file: .* Set AWS_ACCESS_KEY_ID and"),
    ):
        write_file(f"{bucket}/file", b"")
    with (
        asking_for_permissions(s3_address),
        pytest.raises(ObjectStorageError, match=f"Cannot read {bucket}/file: .* were refused, or may not .*GetObject"),
    ):
        read_file(f"{bucket}/file", most_bytes=1)


def test_server_that_does_not_answer_is_named() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with (
        credentials(address, AWS_MAX_ATTEMPTS="1"),
        pytest.raises(ObjectStorageError, match=f"Cannot list s3://bucket/acl: .*{address}.* Check the network"),
    ):
        list_files("s3://bucket/acl")


class WebPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<html><body>Sign in</body></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def do_HEAD(self) -> None:
        self.do_GET()


def test_web_page_that_answers_instead_is_named() -> None:
    """Such as the sign-in of a company's network."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WebPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            credentials(f"http://127.0.0.1:{server.server_port}"),
            pytest.raises(ObjectStorageError, match=r"Cannot list s3://bucket/acl: .* Check the network, AWS_ENDPOINT"),
        ):
            list_files("s3://bucket/acl")
        server.shutdown()


WITHOUT_THE_EXTRA = """
import sys
sys.modules["s3fs"] = None
import acl_assets.landing_zone.s3_store, acl_assets.source_tables.remote
assert "fsspec" not in sys.modules
from acl_assets.util.object_storage import list_files
list_files("s3://bucket/acl")
"""


def test_extra_is_loaded_when_a_url_is_used_and_named_when_it_is_missing() -> None:
    """An installation on one machine neither needs it nor waits for it."""
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert "Cannot list s3://bucket/acl" in process.stderr.splitlines()[-1]
    assert "install acl_assets[object-storage]" in process.stderr.splitlines()[-1]
