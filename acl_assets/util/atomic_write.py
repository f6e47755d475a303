"""Replace files atomically and durably: readers find the old content or the new content, never a part of either."""

import os
import shutil
import tempfile
from pathlib import Path


def write_atomically(target: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Replace `target` by a file with the given content and mode; text is written as UTF-8.

    The content and the folder entry reach the disk before the function returns. If writing fails, for example on a
    full disk, `target` keeps its previous content and no temporary file remains.
    """
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        replace_durably(Path(temporary), target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def replace_durably(source: Path, target: Path) -> None:
    """Give a file, link or folder another name in place of what has that name, and flush the new entry to the disk.

    The content of `source` must have reached the disk. A folder replaces an empty folder only.
    """
    os.replace(source, target)
    fsync_path(target.parent)


def switch_link(link: Path, folder: Path) -> str | None:
    """Make a symbolic link point to a folder in the same folder, and return the name of the one it pointed to.

    A folder in place of the link, which a copy that follows links makes, is removed.
    """
    previous = link.readlink().name if link.is_symlink() else None
    if previous is None and link.is_dir():
        shutil.rmtree(link)
    unfinished = link.with_name(f"{link.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(folder.name, target_is_directory=True)
    replace_durably(unfinished, link)
    return previous


def fsync_path(path: Path) -> None:
    """Flush a file or the entries of a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
