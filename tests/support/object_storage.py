"""An S3 server on this machine, credentials for it, and buckets."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from fsspec import get_filesystem_class
from refreshes import festival_settings

from acl_assets.settings import Settings


def start_s3() -> str:
    """Start an S3 server on a free port of 127.0.0.1 and return its address; its thread ends with this process."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def credentials(address: str, keep_clients: bool = False, **variables: str | None) -> Iterator[None]:
    """Use an S3 server with credentials it takes, in environment variables, some of them changed or (None) unset.

    A client goes on using the server it was made for. Making one takes half a second, so blocks that all use one
    server may keep theirs.
    """
    given = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }
    forget_clients = (lambda: None) if keep_clients else get_filesystem_class("s3").clear_instance_cache
    forget_clients()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        try:
            yield
        finally:
            forget_clients()


@contextmanager
def asking_for_permissions(address: str) -> Iterator[None]:
    """Make a server refuse everybody until the block ends."""
    try:
        requests.post(f"{address}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
        yield
    finally:
        requests.post(f"{address}/moto-api/reset-auth", data=b"inf", timeout=10).raise_for_status()


def remote_settings(data_dir: Path, data_url: str) -> Settings:
    """Return the settings of an installation that keeps what it can on object storage."""
    return festival_settings(data_dir).with_changes(exports_dir=f"{data_url}/exports", data_url=data_url)
