"""The model server as a real process over real HTTP: formats, errors, limits, the containers' contract."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from mlops_assets.artifacts import digest_of
from mlops_assets.runtime.model import LoadedModel
from mlops_assets_tests.runtime.models import ROWS, homes_model, sizes_model

JSON, LINES, CSV = "application/json", "application/jsonlines", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
NAMES = ("square_feet", "bedrooms", "region")
CSV_ROWS = "".join(f"{row['square_feet']},{row['bedrooms']},{row['region']}\n" for row in ROWS)


@dataclass
class Running:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, content: bytes | str, kind: str | None = JSON, **headers: str) -> httpx.Response:
        sent = ({"content-type": kind} if kind else {}) | headers
        encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
        return httpx.post(f"{self.url}/invocations", content=content, headers=encoded, timeout=60)

    def ask(self, rows: Any, **headers: str) -> httpx.Response:
        return self.post(json.dumps({"instances": rows}), **headers)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line)["record"] for line in self.log.read_text().splitlines()]


@contextmanager
def serving(
    folder: Path, log: Path, *arguments: str, env: Mapping[str, str] | None = None, port: str = "0"
) -> Iterator[Running]:
    command = [sys.executable, "-m", "mlops_assets.runtime.serve", "--log", str(log), *arguments]
    command += ["--model", str(folder)] if folder.name else []
    command += ["--port", port] if port else []
    process = subprocess.Popen(command, env=os.environ | dict(env or {}), stderr=subprocess.DEVNULL)
    try:
        running = Running("", process, log)
        deadline = time.monotonic() + 60
        while not log.exists() or not any(item.get("event") == "ready" for item in running.records()):
            assert process.poll() is None, log.read_text() if log.exists() else "it ended without a word"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        listening = next(item for item in running.records() if item.get("event") == "listening")
        running.url = f"http://127.0.0.1:{listening['port']}"
        yield running
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    homes_model(root / "homes")
    sizes_model(root / "sizes")
    return {"homes": root / "homes", "sizes": root / "sizes"}


@pytest.fixture(scope="module")
def homes(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("logs") / "homes.log"
    with serving(
        folders["homes"], log, "--version", "7", "--body-limit", "200000", "--concurrency", "2"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def sizes(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(folders["sizes"], tmp_path_factory.mktemp("logs") / "sizes.log") as running:
        yield running


@pytest.fixture(scope="module")
def offline(folders: dict[str, Path]) -> list[float]:
    return [row["prediction"] for row in LoadedModel.load(folders["homes"]).predict_records(ROWS)]


def arrow(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


# --- what is read -----------------------------------------------------------------------------------------

BODIES: dict[str, tuple[str, bytes | str]] = {
    "instances of records": (JSON, json.dumps({"instances": ROWS})),
    "instances of lists": (JSON, json.dumps({"instances": [[row[name] for name in NAMES] for row in ROWS]})),
    "a list of records": (JSON, json.dumps(ROWS)),
    "columns and data, in another order": (
        "application/json; charset=utf-8",
        json.dumps(
            {
                "columns": ["region", "note", "square_feet", "bedrooms"],
                "data": [[row["region"], None, row["square_feet"], row["bedrooms"]] for row in ROWS],
            }
        ),
    ),
    "an alias of the training file": (
        JSON,
        json.dumps([{"SQUARE_FEET": row["square_feet"], **{n: row[n] for n in NAMES[1:]}} for row in ROWS]),
    ),
    "JSON lines": (LINES, "\n".join(json.dumps(row) for row in ROWS)),
    "JSON lines under another name": (
        "application/x-ndjson",
        "\n".join(json.dumps(row) for row in ROWS) + "\n\n",
    ),
    "CSV with a header": (CSV, "square_feet,bedrooms,region\n" + CSV_ROWS),
    "CSV with another order and more columns": (
        CSV,
        "id,region,bedrooms,square_feet\n"
        + "".join(f"1,{row['region']},{row['bedrooms']},{row['square_feet']}\n" for row in ROWS),
    ),
    "CSV without a header": (CSV, CSV_ROWS),
    "CSV with a byte order mark, quotes and CRLF": (
        CSV,
        b'\xef\xbb\xbf"square_feet","bedrooms","region"\r\n'
        + "".join(f'"{r["square_feet"]}", {r["bedrooms"]} ,"{r["region"]}"\r\n' for r in ROWS).encode(),
    ),
    "an Arrow stream": (ARROW, arrow(pa.Table.from_pylist(ROWS))),
    "an Arrow stream with dictionaries": (
        ARROW,
        arrow(
            pa.Table.from_pylist(ROWS).set_column(
                2, "region", pa.array([r["region"] for r in ROWS]).dictionary_encode()
            )
        ),
    ),
}


@pytest.mark.parametrize("form", BODIES)
def test_every_form_of_a_body_gives_the_offline_answers(
    homes: Running, offline: list[float], form: str
) -> None:
    kind, body = BODIES[form]
    answer = homes.post(body, kind)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": pytest.approx(offline, rel=1e-9)}


def test_null_is_a_missing_value_in_every_form(homes: Running) -> None:
    one = homes.ask([{"square_feet": None, "bedrooms": 3, "region": "north"}]).json()
    assert homes.post(",3,north", CSV).json() == one
    assert homes.post(",3,north\n", "text/csv; header=absent").json() == one
    table = pa.table({"square_feet": pa.nulls(1), "bedrooms": [3], "region": ["north"]})
    assert homes.post(arrow(table), ARROW).json() == one


# --- what is written --------------------------------------------------------------------------------------


def test_a_classification_answers_classes_and_probabilities(sizes: Running) -> None:
    for record in sizes.ask(ROWS).json()["predictions"]:
        shares = {label: record[f"probability_{label}"] for label in ("cheap", "dear", "fair")}
        assert sum(shares.values()) == pytest.approx(1)
        assert record["prediction"] == max(shares, key=lambda label: shares[label])


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/csv", CSV),
        ("text/html, text/csv;q=0.5, application/jsonlines;q=0.9", LINES),
        ("application/json;q=0, text/csv", CSV),
        (ARROW, ARROW),
    ],
)
def test_the_accept_header_decides_the_answers_form(
    homes: Running, offline: list[float], accept: str, kind: str
) -> None:
    answer = homes.ask(ROWS, accept=accept)
    assert answer.headers["content-type"].split(";")[0] == kind
    if kind == JSON:
        found = answer.json()["predictions"]
    elif kind == LINES:
        found = [json.loads(line)["prediction"] for line in answer.text.splitlines()]
    elif kind == CSV:
        found = pacsv.read_csv(io.BytesIO(answer.content)).column("prediction").to_pylist()
    else:
        found = pa.ipc.open_stream(answer.content).read_all().column("prediction").to_pylist()
    assert found == pytest.approx(offline, rel=1e-9)


def test_a_csv_answer_has_a_header_where_the_request_had_one_or_accept_asks(homes: Running) -> None:
    def lines(body: str, accept: str) -> int:
        return len(homes.post(body, CSV, accept=accept).text.splitlines())

    assert lines(CSV_ROWS, "text/csv") == len(ROWS)
    assert lines("square_feet,bedrooms,region\n" + CSV_ROWS, "text/csv") == len(ROWS) + 1
    assert lines(CSV_ROWS, "text/csv; header=present") == len(ROWS) + 1


def test_no_accepted_form_is_406(homes: Running) -> None:
    answer = homes.ask(ROWS, accept="image/png")
    assert answer.status_code == 406
    assert answer.json()["error"]["where"] == "Accept"


# --- what is refused --------------------------------------------------------------------------------------

GOOD = ROWS[0]


def row_with(**changes: Any) -> str:
    return json.dumps({"instances": [GOOD, GOOD | changes]})


def row_without(name: str) -> str:
    return json.dumps({"instances": [{key: value for key, value in GOOD.items() if key != name}]})


REFUSED: dict[str, tuple[str, bytes | str, tuple[str, ...]]] = {
    "text for a number": (JSON, row_with(square_feet="large"), ("row 2", "square_feet", "large")),
    "a fraction for a whole number": (JSON, row_with(bedrooms=2.5), ("row 2", "bedrooms")),
    "infinity": (JSON, '[{"square_feet": 1e999, "bedrooms": 1, "region": "x"}]', ("row 1", "square_feet")),
    "a list for text": (JSON, row_with(region=["north"]), ("row 2", "region")),
    "a missing column": (JSON, row_without("bedrooms"), ("bedrooms", "missing")),
    "a misspelt column": (
        JSON,
        json.dumps([{"Square_Feet": 1, "bedrooms": 1, "region": "x"}]),
        ("Square_Feet",),
    ),
    "too few values": (JSON, json.dumps({"instances": [[1, 2]]}), ("row 1", "square_feet, bedrooms, region")),
    "a bare value": (JSON, json.dumps({"instances": [1]}), ("row 1",)),
    "no rows": (JSON, json.dumps({"instances": []}), ("no rows",)),
    "no list of rows": (JSON, json.dumps({"rows": []}), ("instances",)),
    "a column named twice": (JSON, json.dumps({"columns": ["a", "a"], "data": [[1, 2]]}), ("columns",)),
    "NaN": (JSON, '{"instances": [{"square_feet": NaN}]}', ("NaN",)),
    "half a document": (JSON, '{"instances": [', ("Not JSON",)),
    "a deep document": (JSON, "[" * 90_000, ("Not JSON",)),
    "a number of many digits": (JSON, "[" + "9" * 5_000 + "]", ("Not JSON",)),
    "a whole number beyond 64 bits": (JSON, row_with(bedrooms=2**70), ("row 2", "bedrooms")),
    "a bad line": (LINES, json.dumps(GOOD) + "\n{", ("line 2",)),
    "CSV text for a number": (CSV, "1,2,north\n1,two,north\n", ("row 2", "bedrooms", "two")),
    "CSV with a misspelt header": (CSV, "square_feet,bedroms,region\n1,2,north\n", ("bedrooms", "bedroms")),
    "CSV with a ragged row": (CSV, "square_feet,bedrooms,region\n1,2,north\n1,2\n", ("row 2", "2 values")),
    "headerless CSV with too few values": (CSV, "1,2\n", ("row 1", "square_feet, bedrooms, region")),
    "an empty body": (CSV, "", ("no rows",)),
    "CSV with a header alone": (CSV, "square_feet,bedrooms,region\n", ("no rows",)),
    "an open quote": (CSV, '"1,2,north\n', ("row 1",)),
    "another encoding": (CSV, "1,2,münchen\n".encode("latin-1"), ("line 1", "UTF-8")),
    "Arrow of another type": (
        ARROW,
        arrow(pa.table({"square_feet": [[1.0]], "bedrooms": [1], "region": ["x"]})),
        ("square_feet", "list"),
    ),
    "Arrow without a column": (
        ARROW,
        arrow(pa.table({"square_feet": [1.0], "region": ["x"]})),
        ("bedrooms",),
    ),
    "compressed Arrow": (
        ARROW,
        arrow(
            pa.table({"square_feet": [0.0] * 9_999, "bedrooms": [1] * 9_999, "region": ["x"] * 9_999}),
            compression="zstd",
        ),
        ("compressed",),
    ),
    "half an Arrow stream": (ARROW, arrow(pa.Table.from_pylist(ROWS))[:300], ("Arrow stream",)),
    "no Arrow at all": (ARROW, b"\xff" * 64, ("Arrow stream",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_payload_is_400_and_names_the_place(homes: Running, case: str) -> None:
    kind, body, words = REFUSED[case]
    answer = homes.post(body, kind)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"what", "where", "mend"}
    for word in words:
        assert word in json.dumps(error, ensure_ascii=False)


def test_a_few_bytes_of_arrow_cannot_become_a_billion_rows(homes: Running) -> None:
    nulls = pa.NullArray.from_buffers(pa.null(), 1 << 40, [None])
    body = arrow(pa.table(dict.fromkeys(NAMES, nulls)), allow_64bit=True)
    assert len(body) < 5_000
    assert homes.post(body, ARROW).status_code == 413


def test_a_dictionary_cannot_repeat_a_long_text_without_bound(homes: Running) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int8()), pa.array(["x" * 100_000]))
    body = arrow(pa.table({"square_feet": pa.nulls(50_000), "bedrooms": pa.nulls(50_000), "region": long}))
    assert len(body) < 200_000
    assert homes.post(body, ARROW).status_code == 413


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/csv; charset=utf-16"])
def test_another_media_type_is_415(homes: Running, kind: str | None) -> None:
    answer = homes.post(CSV_ROWS, kind)
    assert answer.status_code == 415
    assert "Content-Type" in answer.json()["error"]["where"]


def test_a_compressed_body_is_415(homes: Running) -> None:
    assert homes.post(b"...", JSON, **{"content-encoding": "gzip"}).status_code == 415


def test_a_body_above_the_limit_is_413_whether_its_length_is_told_or_not(homes: Running) -> None:
    body = b" " * 200_001

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    assert homes.post(body).status_code == 413
    answer = httpx.post(
        f"{homes.url}/invocations", content=pieces(), headers={"content-type": JSON}, timeout=30
    )
    assert answer.status_code == 413
    assert homes.ask(ROWS).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/invocations", 405), ("POST", "/ping", 405), ("GET", "/ping/", 404)],
)
def test_other_routes_and_methods_are_errors_in_json(
    homes: Running, method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, homes.url + path)
    assert answer.status_code == status
    assert answer.json()["error"]["mend"]


# --- who and where ----------------------------------------------------------------------------------------


def test_ping_and_metadata_say_who_serves(homes: Running, folders: dict[str, Path]) -> None:
    ping = httpx.get(f"{homes.url}/ping").json()
    assert (ping["status"], ping["model"], ping["version"]) == ("ready", "homes", 7)
    metadata = httpx.get(f"{homes.url}/metadata").json()
    assert metadata["version"] == 7 and len(metadata["digest"]) == 64
    assert metadata["signature"] == json.loads((folders["homes"] / "model.json").read_text())


def test_a_folder_that_is_not_the_registered_one_is_not_served(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mlops_assets.runtime.serve", "--port", "0", "--model"]
    environment = os.environ | {"MLOPS_MODEL_DIGEST": "0" * 64}
    ended = subprocess.run(
        [*command, str(folders["homes"])], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "not the registered ones" in ended.stderr


def test_the_containers_variables_are_honoured(folders: dict[str, Path], tmp_path: Path) -> None:
    env = {
        "AIP_MODEL_DIR": str(folders["homes"]),
        "AIP_HTTP_PORT": "0",
        "AIP_HEALTH_ROUTE": "/health",
        "AIP_PREDICT_ROUTE": "/v1/models/homes:predict",
        "MLOPS_MODEL_VERSION": "11",
        "MLOPS_MODEL_DIGEST": digest_of(json.loads((folders["homes"] / "_complete").read_text())),
    }
    with serving(Path(), tmp_path / "log", env=env, port="") as running:
        assert httpx.get(f"{running.url}/health").status_code == 200
        assert httpx.get(f"{running.url}/ping").json()["version"] == 11
        answer = httpx.post(f"{running.url}/v1/models/homes:predict", json={"instances": ROWS})
        assert len(answer.json()["predictions"]) == len(ROWS)


def test_a_token_is_asked_for_and_never_logged(folders: dict[str, Path], tmp_path: Path) -> None:
    token = "a-token-that-nobody-else-has"
    with serving(folders["homes"], tmp_path / "log", env={"MLOPS_ENDPOINT_TOKEN": token}) as running:
        for wrong in ("", "Bearer", "Bearer wrong", f"Basic {token}", f"Bearer {token}x", "Bearer tökén"):
            answer = running.ask(ROWS, authorization=wrong)
            assert answer.status_code == 401, wrong
            assert answer.headers["www-authenticate"] == "Bearer"
        assert running.ask(ROWS, authorization=f"Bearer {token}").status_code == 200
        assert httpx.get(f"{running.url}/metadata").status_code == 401
        assert httpx.get(f"{running.url}/ping").status_code == 200
        assert token not in running.log.read_text()


@pytest.mark.parametrize("damage", ["digest", "signature", "missing marker", "untrusted"])
def test_a_model_that_cannot_be_trusted_ends_the_server(
    folders: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    folder, log = tmp_path / "model", tmp_path / "log"
    files = homes_model(folder)
    if damage == "digest":
        with (folder / "model.skops").open("ab") as file:
            file.write(b"x")
    elif damage == "signature":
        (folder / "model.json").write_text("{}")
    elif damage == "missing marker":
        (folder / "_complete").unlink()
    else:
        import hashlib
        import pickle

        (folder / "model.skops").write_bytes(pickle.dumps({"a": 1}))
        files["model.skops"] = hashlib.sha256((folder / "model.skops").read_bytes()).hexdigest()
        (folder / "_complete").write_text(json.dumps(files))
    command = [sys.executable, "-m", "mlops_assets.runtime.serve", "--model", str(folder), "--port", "0"]
    ended = subprocess.run([*command, "--log", str(log)], timeout=60, check=False)
    assert ended.returncode == 1
    assert "Mend:" in log.read_text()


# --- load and end -----------------------------------------------------------------------------------------


def test_the_log_has_a_line_per_request_and_no_payload(homes: Running) -> None:
    homes.ask([GOOD | {"region": "a-secret-region"}])
    homes.post(row_with(square_feet="a-secret-size"))
    httpx.get(f"{homes.url}/nothing?token=a-secret-query")
    assert "a-secret" not in homes.log.read_text()
    records = [item for item in homes.records() if item.get("path") == "/invocations"]
    assert records[-2] | {"ms": 0, "bytes": 0} == {
        "method": "POST", "path": "/invocations", "status": 200, "rows": 1, "ms": 0, "bytes": 0
    }  # fmt: skip


def test_ping_answers_while_a_large_prediction_runs(folders: dict[str, Path], tmp_path: Path) -> None:
    rows = ("1,2,north\n" * 400_000).encode()
    with (
        serving(folders["homes"], tmp_path / "log", "--concurrency", "1") as running,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(running.post, rows, CSV)
        slowest = 0.0
        while not answer.done():
            started = time.monotonic()
            assert httpx.get(f"{running.url}/ping", timeout=30).status_code == 200
            slowest = max(slowest, time.monotonic() - started)
        took = (
            running.records()[-1 - next(i for i, r in enumerate(running.records()[::-1]) if "rows" in r)][
                "ms"
            ]
            / 1000
        )
        assert len(answer.result().json()["predictions"]) == 400_000
        assert slowest < took / 2


def test_requests_beyond_the_queue_are_503_and_come_through_later(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = ("1,2,north\n" * 200_000).encode()
    arguments = ("--concurrency", "1", "--queue", "1")
    with serving(folders["homes"], tmp_path / "log", *arguments) as running, ThreadPoolExecutor(6) as pool:
        answers = [item.result() for item in [pool.submit(running.post, rows, CSV) for _ in range(6)]]
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) >= 2 and statuses.count(503) >= 1, statuses
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
        assert running.ask(ROWS).status_code == 200


def test_a_prediction_beyond_the_time_is_504(folders: dict[str, Path], tmp_path: Path) -> None:
    rows = ("1,2,north\n" * 400_000).encode()
    with serving(folders["homes"], tmp_path / "log", "--timeout", "0.2") as running:
        assert running.post(rows, CSV).status_code == 504


def test_sigterm_lets_requests_under_way_finish_and_ends_with_0(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = ("1,2,north\n" * 300_000).encode()
    with serving(folders["homes"], tmp_path / "log") as running:
        begun = threading.Event()

        def body() -> Iterator[bytes]:
            yield rows[: len(rows) // 2]
            begun.set()
            yield rows[len(rows) // 2 :]

        with ThreadPoolExecutor(1) as pool:
            url, headers = f"{running.url}/invocations", {"content-type": CSV}
            answer = pool.submit(httpx.post, url, content=body(), headers=headers, timeout=60)
            assert begun.wait(30)
            running.process.send_signal(signal.SIGTERM)
            assert len(answer.result().json()["predictions"]) == 300_000
        assert running.process.wait(40) == 0
