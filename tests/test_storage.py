"""The same bytes under the same keys, in a folder or in a bucket."""

from hashlib import sha256

import pytest
from django.conf import LazySettings

from campaigns.models import RunFile
from executor import runner
from executor.storage import PIECE_BYTES, Storage, open_storage
from tests import world as worlds
from tests.clients import api_client
from tests.s3_server import BUCKET, S3Server
from tests.world import World

FOLDER = "deep/er"
LARGE = bytes(range(256)) * (5 << 12)  # 20 MiB: three parts of an upload, five pieces


@pytest.fixture
def in_bucket(bucket: S3Server, settings: LazySettings) -> S3Server:
    settings.STORAGE_URL = f"s3://{BUCKET}/{FOLDER}"
    return bucket


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest) -> Storage:
    if request.param == "bucket":
        request.getfixturevalue("in_bucket")
    return open_storage()


@pytest.fixture
def world(clean_relations: None, settings: LazySettings) -> World:
    settings.KAIREON_CHUNK_ROWS = 1024
    return worlds.build(2500)


def keys(server: S3Server) -> list[str]:
    listed = server.ask("GET", f"/{BUCKET}?list-type=2")[2].decode()
    return [part.split("</Key>")[0] for part in listed.split("<Key>")[1:]]


@pytest.mark.parametrize("data", [b"", b"abc", LARGE], ids=["nothing", "little", "much"])
def test_what_is_put_is_got(store: Storage, data: bytes) -> None:
    written = store.put("runs/1/2/input/000000.parquet", data)
    assert (written.size_bytes, written.sha256) == (len(data), sha256(data).hexdigest())
    assert store.get("runs/1/2/input/000000.parquet") == data
    pieces = [*store.stream("runs/1/2/input/000000.parquet")]
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("data", [b"", b"abc", LARGE], ids=["nothing", "little", "much"])
def test_what_is_written_in_pieces_appears_whole(store: Storage, data: bytes) -> None:
    with store.create("file.csv") as out:
        for at in range(0, len(data), 3 << 20):
            out.write(data[at : at + (3 << 20)])
        with pytest.raises(FileNotFoundError):
            store.get("file.csv")
    assert store.get("file.csv") == data
    assert (out.written.size_bytes, out.written.sha256) == (len(data), sha256(data).hexdigest())


def test_what_is_broken_off_never_appears(store: Storage) -> None:
    break_off(store)
    with pytest.raises(FileNotFoundError):
        store.get("file.csv")


def test_what_is_broken_off_leaves_no_parts(in_bucket: S3Server) -> None:
    break_off(open_storage())
    assert b"<Upload>" not in in_bucket.ask("GET", f"/{BUCKET}?uploads")[2]


def break_off(store: Storage) -> None:
    def write() -> None:
        with store.create("file.csv") as out:
            out.write(LARGE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()


def test_a_missing_object_is_told(store: Storage) -> None:
    for read in (store.get, lambda key: next(store.stream(key))):
        with pytest.raises(FileNotFoundError):
            read("runs/1/nothing")


def test_a_key_may_be_written_again(store: Storage) -> None:
    for data in (LARGE, b"abc"):
        store.put("key", data)
        assert store.get("key") == data


def test_only_the_named_keys_are_deleted(store: Storage) -> None:
    for number in range(4):
        store.put(f"runs/1/{number}", b"x")
    store.delete(["runs/1/0", "runs/1/nothing", "runs/1/2"])
    store.delete([])
    left = [number for number in range(4) if exists(store, f"runs/1/{number}")]
    assert left == [1, 3]


def test_a_folder_is_deleted_and_its_neighbour_is_not(store: Storage) -> None:
    for key in ("runs/1/2/input/0", "runs/1/file", "runs/12/file", "runs/2/1/file"):
        store.put(key, b"x")
    store.delete_under("runs/1")
    store.delete_under("runs/3")
    assert not exists(store, "runs/1/2/input/0")
    assert not exists(store, "runs/1/file")
    assert exists(store, "runs/12/file")
    assert exists(store, "runs/2/1/file")


def exists(store: Storage, key: str) -> bool:
    try:
        store.get(key)
    except FileNotFoundError:
        return False
    return True


def test_many_objects_are_deleted_by_few_requests(in_bucket: S3Server) -> None:
    store = open_storage()
    for number in range(30):
        store.put(f"runs/1/{number}", b"x")
    in_bucket.requests.clear()
    store.delete_under("runs/1")
    assert in_bucket.requests == ["GET", "POST"]
    assert keys(in_bucket) == []


def test_keys_lie_in_the_folder_of_the_bucket(in_bucket: S3Server) -> None:
    open_storage().put("runs/1/file", b"x")
    assert keys(in_bucket) == [f"{FOLDER}/runs/1/file"]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_run_leaves_the_same_in_a_bucket_as_in_a_folder(
    world: World, bucket: S3Server, settings: LazySettings, kind: str
) -> None:
    files = []
    for url in (settings.STORAGE_URL, f"s3://{BUCKET}/{FOLDER}"):
        settings.STORAGE_URL = url
        run = world.run(file_format=kind, file_columns=["customer_id", "rank", "offer_name"])
        assert runner.execute(run.pk)
        run.refresh_from_db()
        assert (run.status, run.error) == ("completed", "")
        file = RunFile.objects.of(run.tenant).get(run=run)
        files.append((file.sha256, file.size_bytes, file.row_count))
    assert files[0] == files[1]
    folder = f"{FOLDER}/runs/{run.pk}"
    assert keys(bucket) == [
        *(f"{folder}/1/input/{number:06d}.parquet" for number in range(3)),
        f"{folder}/2/file.{kind}",
    ]
    response = api_client(world.tenant).get(f"/api/v1/campaign-runs/{run.public_id}/file")
    assert sha256(b"".join(response.streaming_content)).hexdigest() == file.sha256
