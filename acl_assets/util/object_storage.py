"""Files on object storage, named by URLs such as `s3://bucket/acl/exports`: list them and move them in bounded memory.

Everything goes through fsspec, whose S3 is the optional package s3fs; neither is imported before a URL is used. Every
function raises `ObjectStorageError` when it cannot do its work.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

_PART_BYTES = 16 << 20


class ObjectStorageError(Exception):
    """Object storage cannot be used; the message says what was tried, where, what it answered and what to do."""


class StoredFile(NamedTuple):
    """Size of a file in bytes, and when it was written, in nanoseconds since the epoch."""

    size: int
    modified_ns: int


def list_files(url: str) -> dict[str, StoredFile]:
    """Return all files below a folder, however deep, by their paths in it; none where there is no such folder."""
    with _explained("list", url):
        found: Mapping[str, Mapping[str, Any]] = _file_system(url).find(url, detail=True)
        start = len(url.partition("://")[2]) + 1
        return {
            path[start:]: StoredFile(entry["size"], round(entry["LastModified"].timestamp() * 1e9))
            for path, entry in found.items()
            if entry["type"] == "file"
        }


def read_file(url: str, most_bytes: int) -> bytes:
    """Return the content of a small file, at most its first `most_bytes` bytes."""
    with _explained("read", url):
        files = _file_system(url)
        try:
            return bytes(files.cat_file(url, start=0, end=most_bytes))
        except OSError:
            # S3 refuses a range of an empty object.
            if files.size(url) == 0:
                return b""
            raise


def open_file(url: str) -> IO[bytes]:
    """Open a file to read parts of it: every read requests just its own bytes."""
    with _explained("read", url):
        return cast("IO[bytes]", _file_system(url).open(url, "rb", cache_type="none"))


def write_file(url: str, content: bytes) -> None:
    """Write a small file, or replace it, in one request."""
    with _explained("write", url):
        _file_system(url).pipe_file(url, content)


def upload(file: Path, url: str) -> None:
    """Write a file of this machine to object storage, in parts when it is large; it appears there as a whole."""
    with _explained("write", url):
        _file_system(url).put_file(str(file), url, chunksize=_PART_BYTES)


def download(url: str, file: Path) -> bool:
    """Write a file of object storage to a folder that nobody else reads; False where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _explained("read", url):
        try:
            _file_system(url).get_file(url, str(file))
        except FileNotFoundError:
            return False
    return True


def remove(urls: Iterable[str]) -> None:
    """Remove files; one that is not there is no error."""
    for url in urls:
        with _explained("remove", url):
            # Not `rm`, which takes a name for a glob pattern.
            _file_system(url).rm_file(url)


def _file_system(url: str) -> Any:
    import fsspec

    # Others write there too, so listings are not cached. One part at a time is in memory.
    return fsspec.filesystem(url.partition("://")[0], use_listings_cache=False, max_concurrency=1)


@contextmanager
def _explained(doing: str, url: str) -> Iterator[None]:
    """Turn whatever the library raises, which has classes of many packages, into an error with a remedy."""
    try:
        yield
    except Exception as error:
        answer = str(error).rstrip(".")
        raise ObjectStorageError(f"Cannot {doing} {url}: {answer}. {_what_to_do(error, url)}") from error


def _what_to_do(error: Exception, url: str) -> str:
    bucket = "/".join(url.split("/")[:3])
    if isinstance(error, ImportError):
        return "Object storage needs an extra: install acl_assets[object-storage], which brings s3fs."
    if isinstance(error, FileNotFoundError):
        return f"If the bucket {bucket} is missing, make it, or correct ACL_DATA_DIR or ACL_EXPORTS_DIR."
    if isinstance(error, PermissionError):
        return (
            "The credentials were refused, or may not do that: they need s3:ListBucket on the bucket, and "
            "s3:GetObject, s3:PutObject and s3:DeleteObject on what is in it."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "Make room on this machine, or set ACL_WORK_DIR to where there is some."
    if "credentials" in type(error).__name__.lower():
        return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role."
    return "Check the network, AWS_ENDPOINT_URL and AWS_DEFAULT_REGION; what has landed stays as it is: try again."
