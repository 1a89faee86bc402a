import os

import pytest

from tests.buckets.servers import BUCKET, gcs_server, s3_server


def _without_clients():
    """fsspec keeps its clients: those of another test speak to another server."""
    import fsspec

    for kind in ("gs", "s3"):
        fsspec.get_filesystem_class(kind).clear_instance_cache()


@pytest.fixture
def gcs(monkeypatch, tmp_path):
    """The faults of a server whose bucket this process and what it starts find; an empty cache."""
    with gcs_server() as (environment, faults):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        _without_clients()
        yield faults
    _without_clients()


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """The same with Amazon's protocol."""
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        _without_clients()
        import s3fs

        s3fs.S3FileSystem(use_listings_cache=False).mkdir(BUCKET)
        yield
    _without_clients()


@pytest.fixture(params=["gs", "s3"])
def bucket(request):
    """The URL of an empty bucket: `gs://bucket-one`, then `s3://bucket-one`."""
    request.getfixturevalue({"gs": "gcs", "s3": "s3"}[request.param])
    return f"{request.param}://{BUCKET}"


@pytest.fixture
def new_machine(monkeypatch, tmp_path):
    """Call it to go on on a machine whose disk is empty."""

    def move(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return tmp_path / name

    assert os.environ.get("XDG_CACHE_HOME")
    return move
