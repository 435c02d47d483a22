"""The DuckDB warehouse: the contract, dirty files, kills, full disks, several processes, and its walls."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlops_assets.errors import DataError, StorageError
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.local.database import Database
from mlops_assets.platforms.ports import LoadResult, Platform, TableBuild
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.warehouse import (
    WarehouseContract,
    load,
    reader,
    rejected,
    request,
    rows,
)


class TestDuckDBWarehouse(WarehouseContract):
    figures = frozenset({"queries", "query_seconds"})

    @pytest.fixture
    def platform(self, tmp_path: Path) -> Platform:
        return build_platform(Settings(root=tmp_path / "mlops"))


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_platform(Settings(root=tmp_path / "mlops"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """One platform for many generated examples."""
    return build_platform(Settings(root=tmp_path_factory.mktemp("shared") / "mlops"))


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Another, whose arrivals have a column of each type."""
    return build_platform(Settings(root=tmp_path_factory.mktemp("typed") / "mlops"))


AB = {"a": "int", "b": "string"}
CLEAN = [b"1,x", b"2.0,y", b'6,"q"', b'8,"two\nlines"', b",", b'"",""', b'10,5" pipe', b""]
BROKEN = [b"3.5,z", b"4", b"5,x,y", b'7,"open', b'9,"a"b', b"\xff,1", b"n\x00l,1", b"1\r,1", b"nan,inf", b'"']
LINES = st.sampled_from([*CLEAN, *BROKEN])
ENDS = st.sampled_from([b"\n", b"\r\n"])


def filled_lines(text: str) -> int:
    """Lines of a record that are not blank, by its text or last field; the first and the last never are."""
    lines = text.split("\n")
    between = sum(1 for line in lines[1:-1] if line.rstrip("\r"))
    return min(len(lines), 2) + between


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example([(b'"', b"\n"), (b"", b"\n"), (b'"', b"\n")], True)
@example([(b'7,"open', b"\n"), (b"", b"\r\n"), (b'"', b"\n")], True)
@given(st.lists(st.tuples(LINES, ENDS), max_size=30), st.booleans())
def test_every_record_of_a_dirty_file_is_loaded_or_quarantined(
    shared: Platform, lines: list[tuple[bytes, bytes]], ended: bool
) -> None:
    data = b"a,b\n" + b"".join(line + end for line, end in lines)
    data = data if ended else data.rstrip(b"\r\n")
    result = load(shared, data, columns=AB)
    loaded = rows(shared.warehouse, "_row", order="_row")
    bad = rejected(shared.warehouse)
    assert result.rows_in == result.loaded + result.quarantined == len(loaded) + len(bad)
    assert sum(result.reasons.values()) == len(bad)
    texts = [raw for *_, raw in bad] + [b for (b,) in rows(shared.warehouse, "coalesce(b, '')")]
    filled = sum(1 for line in data.split(b"\n")[1:] if line.rstrip(b"\r"))
    assert sum(filled_lines(text) for text in texts) == filled


TYPED = {"i": "int", "f": "float", "t": "timestamp", "d": "date", "b": "bool"}
CELLS = {
    "i": [
        "1",
        " 7 ",
        "+1",
        "-0",
        "007",
        "3.0",
        "3.5",
        "0x1F",
        "0X1f",
        "1_0",
        "1e3",
        "",
        "NA",
        "9223372036854775808",
    ],
    "f": [
        "1.5",
        ".5",
        "5.",
        "+2",
        "1e5",
        "1e400",
        "nan",
        "-inf",
        "0x1p3",
        "1_0",
        "0.1",
        " 3 ",
        "",
        "NA",
        "-0.0",
    ],
    "t": [
        "2026-01-01",
        "2026-01-01 10",
        "2026-01-01T10:00",
        "2026-01-01 10:11:12.123456",
        "2026-01-01 10:11:12Z",
        "2026-01-01 24:00:00",
        "2026-02-30",
        "0001-01-01",
        "20260101",
        "2026-01-01 10:11:12.1234567",
        " 2026-01-01",
    ],
    "d": [
        "2026-01-01",
        " 2026-01-01 ",
        "2026-01-01 00:00",
        "2026-01-01 10:00",
        "2026-02-30",
        "20260101",
        "",
        "NA",
    ],
    "b": ["true", "False", "TRUE", "1", "0", "t", "yes", "no", "2", "", "NA", " true "],
}
RECORDS = st.lists(st.tuples(*(st.sampled_from(CELLS[name]) for name in TYPED)), min_size=1, max_size=8)


@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(RECORDS)
def test_what_arrow_reads_is_what_the_judged_texts_are(
    typed: Platform, records: list[tuple[str, ...]]
) -> None:
    """A first record that no column can take turns every column of the block into text."""
    found = []
    for first in ([], [("x", "x", "x", "x", "x")]):
        data = "\n".join(",".join(record) for record in [tuple(TYPED), *first, *records]) + "\n"
        load(typed, data.encode(), columns=TYPED, null_values=("", "NA"))
        shift = len(first)
        values = rows(typed.warehouse, f'_row - {shift}, i, f, t, d, "b"', order="_row")
        refused = [(line - shift, reason, raw) for _, line, reason, raw in rejected(typed.warehouse)]
        found.append((repr(values), refused[shift:]))
    assert found[0] == found[1]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=10)


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), TEXTS), max_size=20))
def test_well_formed_files_load_as_the_csv_module_reads_them(
    shared: Platform, table: list[tuple[int, str]]
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["a", "b"])
    writer.writerows(table)
    result = load(shared, out.getvalue().encode(), columns=AB)
    oracle = list(csv.reader(io.StringIO(out.getvalue(), newline="")))[1:]
    assert result == LoadResult(len(oracle), len(oracle), 0, {})
    found = rows(shared.warehouse, "a, b", order="_row")
    assert found == [(int(a), b or None) for a, b in oracle]


def test_a_corrupt_file_costs_its_broken_records_alone(platform: Platform) -> None:
    good = b"".join(b"%d,row\n" % number for number in range(50_000))
    data = (
        b"a,b\n"
        + good
        + b"x" * (3 << 20)
        + b"\n"
        + "7,Köln\n".encode("latin-1")
        + b'8,"open\n'
        + b"\x00\n"
        + good
    )
    result = load(platform, data, columns=AB)
    assert (result.rows_in, result.loaded, result.quarantined) == (100_004, 100_000, 4)
    assert [line for _, line, *_ in rejected(platform.warehouse)] == [50_002, 50_003, 50_004, 50_005]
    last = platform.warehouse.query("SELECT max(_row) AS last FROM homes.arrivals")
    assert last == [{"last": 100_004}]


PROCESS = """
import os, pathlib, resource, signal, sys
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.ports import LoadRequest, TableBuild
from mlops_assets.settings import Settings
platform = build_platform(Settings(root=pathlib.Path(sys.argv[1])))
def load(key):
    uri = platform.store.root.join("landing/homes", key)
    return platform.warehouse.load(LoadRequest(
        "homes.arrivals", "homes.arrivals_quarantine", "homes.arrivals_ledger", uri, key, "v", "c", "csv",
        {"a": "int", "b": "string"}))
"""


def start(platform: Platform, code: str) -> subprocess.Popen[str]:
    """Run `code` after PROCESS in a process of its own."""
    command = [sys.executable, "-c", PROCESS + code, str(platform.settings.root)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_load_killed_before_its_commit_leaves_the_old_rows(platform: Platform) -> None:
    load(platform, "a,b\n1,old\n", columns=AB)
    request(platform, "a,b\n" + "2,new\n" * 100_000)
    process = start(
        platform,
        """
from mlops_assets.platforms.local import arrival_load
arrival_load.ArrivalLoad._count = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
load("a.csv")
""",
    )
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert rows(platform.warehouse, "a, b") == [(1, "old")]
    assert platform.warehouse.loaded("homes.arrivals_ledger")["a.csv"].rows_in == 1
    assert load(platform, "a,b\n2,new\n", columns=AB).loaded == 1
    assert rows(platform.warehouse, "a, b") == [(2, "new")]


def test_a_load_that_fails_midway_leaves_the_old_rows(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(platform, "a,b\n1,old\n", columns=AB)
    from mlops_assets.platforms.arriving import text_source

    def breaking(*_: object) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr(text_source, "_good", breaking)
        with pytest.raises(DataError, match="disk went away"):
            load(platform, "a,b\n2,new\n", columns=AB)
    assert rows(platform.warehouse, "a, b") == [(1, "old")]


def test_a_full_disk_stops_a_load_with_a_clear_error_and_the_old_rows(platform: Platform) -> None:
    load(platform, "a,b\n1,old\n", columns=AB)
    request(platform, "a,b\n" + "".join(f"{number},{number * 7919 % 10_007}\n" for number in range(400_000)))
    process = start(
        platform,
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
load("a.csv")
""",
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "StorageError" in errors
    assert "Free space on the disk" in errors
    assert rows(platform.warehouse, "a, b") == [(1, "old")]


def test_a_full_disk_leaves_no_part_of_an_export(platform: Platform) -> None:
    platform.warehouse.build(TableBuild("m.t", "SELECT hash(i) AS a FROM range(500000) AS r(i)"))
    process = start(
        platform,
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
platform.warehouse.export("SELECT a FROM m.t", platform.store.root.join("out/data.parquet"))
""",
    )
    _, errors = process.communicate(timeout=120)
    assert "StorageError" in errors
    assert list(platform.store.list(platform.store.root)) == []
    assert list((platform.settings.root / "tmp").glob("*.parquet")) == []


def test_processes_that_load_at_once_all_succeed(platform: Platform) -> None:
    names = [f"{number}.csv" for number in range(4)]
    for name in names:
        request(platform, "a,b\n" + "1,x\n" * 1000, name)
    processes = [
        start(platform, f"print('ready', flush=True); input(); print(load({name!r}))") for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    counts = platform.warehouse.query(
        "SELECT _object, count(*) AS n FROM homes.arrivals GROUP BY 1 ORDER BY 1"
    )
    assert [(row["_object"], row["n"]) for row in counts] == [(name, 1000) for name in names]


def test_a_warehouse_that_stays_taken_is_reported(platform: Platform) -> None:
    platform.warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
    process = start(
        platform,
        """
from mlops_assets.platforms.local.database import Database
with Database(platform.settings).connect():
    print("ready", flush=True)
    input()
""",
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        impatient = Database(platform.settings, patience=0.2)
        with pytest.raises(StorageError, match="Another process"), impatient.connect():
            pass
    finally:
        process.communicate("go\n", timeout=60)


def test_threads_that_load_at_once_all_succeed(platform: Platform) -> None:
    from concurrent.futures import ThreadPoolExecutor

    requests = [
        request(platform, "a,b\n" + "1,x\n" * 100, f"{number}.csv", columns=AB) for number in range(8)
    ]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(platform.warehouse.load, requests))
    assert [result.loaded for result in results] == [100] * 8
    assert len(rows(platform.warehouse)) == 800


def test_sql_reaches_neither_files_outside_nor_the_network_nor_its_own_walls(platform: Platform) -> None:
    (platform.settings.root).mkdir(parents=True, exist_ok=True)
    (platform.settings.root / "gate.key").write_text("secret")
    for statement in (
        "SELECT * FROM read_csv('/etc/passwd')",
        f"SELECT * FROM read_text('{platform.settings.root}/gate.key')",
        f"SELECT * FROM read_text('{platform.settings.root}/store/../gate.key')",
        f"SELECT * FROM read_text('{platform.settings.root}/tmp/../gate.key')",
        "SELECT * FROM 'https://example.com/data.csv'",
        "SELECT * FROM read_parquet('s3://bucket/data.parquet')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "ATTACH '/tmp/other.duckdb'",
        f"COPY (SELECT 1) TO '{platform.settings.root}/gate.key'",
    ):
        with pytest.raises((DataError, StorageError)) as caught:
            platform.warehouse.query(statement)
        assert "secret" not in str(caught.value)
    assert (platform.settings.root / "gate.key").read_text() == "secret"


def test_a_python_variable_is_no_relation(platform: Platform) -> None:
    homes = reader({"a": [1]})
    with pytest.raises(DataError):
        platform.warehouse.query("SELECT * FROM homes")
    assert homes.read_all().num_rows == 1


def test_a_reader_that_is_closed_early_gives_the_file_back(platform: Platform) -> None:
    platform.warehouse.build(TableBuild("m.t", "SELECT i FROM range(1000000) AS r(i)"))
    batches = platform.warehouse.read("SELECT i FROM m.t")
    assert batches.read_next_batch().num_rows > 0
    batches.close()
    del batches
    process = start(platform, "print(platform.warehouse.query('SELECT count(*) AS n FROM m.t'))")
    out, errors = process.communicate(timeout=120)
    assert "1000000" in out, errors


def test_time_is_utc_whatever_the_machine_says(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    found = platform.warehouse.query("SELECT CAST(TIMESTAMPTZ '2026-01-01 00:00:00+00' AS VARCHAR) AS t")
    assert found[0]["t"].startswith("2026-01-01 00:00:00")
