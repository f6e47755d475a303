"""An S3 server on this machine, as tests need it.

What belongs here: plain functions without fixtures. What does not: expectations.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
import requests
from refreshes import festival_settings

from acl_assets.settings import Settings


@contextmanager
def running_s3() -> Iterator[str]:
    """An S3 server on a free port of 127.0.0.1 that ends with the block; its address."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def credentials(address: str, **variables: str | None) -> Iterator[None]:
    """Use an S3 server with credentials it takes, as environment variables give them; some otherwise, None: unset."""
    given = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()
        try:
            yield
        finally:
            fsspec.filesystem("s3").clear_instance_cache()


def make_bucket() -> str:
    """Make a bucket nobody else has, and give its URL."""
    url = f"s3://bucket-{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3").mkdir(url)
    return url


@contextmanager
def asking_for_permissions(address: str) -> Iterator[None]:
    """Make a server ask what whoever comes may do, which is nothing, until the block ends."""
    try:
        requests.post(f"{address}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
        yield
    finally:
        requests.post(f"{address}/moto-api/reset-auth", data=b"inf", timeout=10).raise_for_status()


def remote_settings(data_dir: Path, data_url: str) -> Settings:
    """Settings of an installation that keeps what it can on object storage, and the rest on this machine."""
    return replace(festival_settings(data_dir), exports_dir=f"{data_url}/exports", data_url=data_url)
