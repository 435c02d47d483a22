"""Scoring files: every format in and out, bounded memory, errors that name file, row and column."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from mlops_assets.errors import ArtifactError, DataError, SignatureError
from mlops_assets.runtime.model import LoadedModel
from mlops_assets.runtime.score import score
from mlops_assets_tests.runtime.models import ROWS, homes_model, sizes_model

WANTED = [row | {"listing": f"id-{number}"} for number, row in enumerate(ROWS)]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "homes"
    homes_model(folder)
    return folder


@pytest.fixture(scope="module")
def offline(homes: Path) -> list[float]:
    return [row["prediction"] for row in LoadedModel.load(homes).predict_records(ROWS)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        return pacsv.read_csv(path).to_pylist()
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("target", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("source", ["csv", "parquet", "jsonl"])
def test_rows_keep_their_columns_and_get_the_offline_predictions(
    homes: Path, offline: list[float], tmp_path: Path, source: str, target: str
) -> None:
    data, out = write(tmp_path / f"data.{source}", WANTED), tmp_path / f"out.{target}"
    assert score(homes, data, out, batch_rows=2) == len(WANTED)
    found = read(out)
    assert [row["listing"] for row in found] == ["id-0", "id-1", "id-2"]
    assert [row["prediction"] for row in found] == pytest.approx(offline, rel=1e-9)
    assert list(found[0]) == ["square_feet", "bedrooms", "region", "listing", "prediction"]


def test_a_classification_gets_the_probability_of_each_class(tmp_path: Path) -> None:
    sizes_model(tmp_path / "sizes")
    out = tmp_path / "out.csv"
    score(tmp_path / "sizes", write(tmp_path / "data.csv", WANTED), out)
    for row in read(out):
        shares = {label: row[f"probability_{label}"] for label in ("cheap", "dear", "fair")}
        assert sum(shares.values()) == pytest.approx(1)
        assert row["prediction"] == max(shares, key=lambda label: shares[label])


def test_an_alias_is_as_good_as_the_features_name(homes: Path, offline: list[float], tmp_path: Path) -> None:
    rows = [
        {"SQUARE_FEET" if name == "square_feet" else name: value for name, value in row.items()}
        for row in ROWS
    ]
    out = tmp_path / "out.jsonl"
    score(homes, write(tmp_path / "data.csv", rows), out)
    assert [row["prediction"] for row in read(out)] == pytest.approx(offline, rel=1e-9)


def test_json_lines_keep_their_values_to_the_letter(homes: Path, tmp_path: Path) -> None:
    rows = [ROWS[0] | {"note": {"tags": ["a", 1, None]}, "big": 2**70}, ROWS[1]]
    out = tmp_path / "out.jsonl"
    score(homes, write(tmp_path / "data.jsonl", rows), out)
    found = read(out)
    assert {name: found[0][name] for name in rows[0]} == rows[0]
    assert set(found[1]) == {*ROWS[1], "prediction"}


def test_json_lines_whose_kinds_change_late_become_one_typed_table(homes: Path, tmp_path: Path) -> None:
    rows = [ROWS[0] | {"a": 1, "b": 1}, ROWS[1] | {"a": 2.5, "b": "x", "late": True}]
    out = tmp_path / "out.parquet"
    score(homes, write(tmp_path / "data.jsonl", rows), out, batch_rows=1)
    found = read(out)
    assert [(row["a"], row["b"], row["late"]) for row in found] == [(1.0, "1", None), (2.5, "x", True)]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("square_feet,bedrooms,region\n1,2,north\nx,2,north\n", "row 2, column square_feet"),
        ("square_feet,bedrooms,region\n1,2,north\n1,2.5,north\n", "row 2, column bedrooms"),
        ("square_feet,bedrooms,region\n1,2,north\n1,2\n", "row 2"),
        ("square_feet,region\n1,north\n", "bedrooms"),
        ("", "line 1"),
        ("a,a\n1,2\n", "line 1"),
    ],
)
def test_a_bad_csv_names_file_row_and_column(homes: Path, tmp_path: Path, text: str, where: str) -> None:
    data, out = tmp_path / "data.csv", tmp_path / "out.csv"
    data.write_text(text)
    with pytest.raises((DataError, SignatureError)) as caught:
        score(homes, data, out, batch_rows=1)
    assert str(data) in str(caught.value)
    assert where in str(caught.value)
    assert list(tmp_path.iterdir()) == [data]


def test_a_late_bad_row_leaves_the_old_output_as_it_was(homes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    data = write(tmp_path / "data.csv", ROWS * 50 + [ROWS[0] | {"bedrooms": "many"}])
    with pytest.raises(SignatureError, match="row 151, column bedrooms"):
        score(homes, data, out, batch_rows=10)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "out.csv"]


@pytest.mark.parametrize("line", ["{", '"text"', '{"square_feet": NaN}', "\udce9"])
def test_a_bad_json_line_is_named_by_its_number(homes: Path, tmp_path: Path, line: str) -> None:
    data = tmp_path / "data.jsonl"
    data.write_bytes((json.dumps(ROWS[0]) + "\n").encode() + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(DataError, match=r"data\.jsonl, line 2"):
        score(homes, data, tmp_path / "out.jsonl")


def test_a_file_that_is_not_what_its_suffix_says_is_refused(homes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    data.write_text("square_feet\n1\n")
    with pytest.raises(DataError, match="no readable Parquet"):
        score(homes, data, tmp_path / "out.parquet")
    with pytest.raises(DataError, match="no format of tables"):
        score(homes, tmp_path / "data.xlsx", tmp_path / "out.csv")
    with pytest.raises(DataError, match="no such file"):
        score(homes, tmp_path / "none.csv", tmp_path / "out.csv")
    (tmp_path / "out.csv").write_text("of an earlier time")
    with pytest.raises(DataError, match="no such file"):
        score(homes, tmp_path / "none.csv", tmp_path / "out.csv")


def test_the_data_is_never_overwritten(homes: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.csv", ROWS)
    (tmp_path / "link.csv").symlink_to(data)
    with pytest.raises(DataError, match="the data itself"):
        score(homes, data, tmp_path / "link.csv")


def test_a_file_that_has_predictions_already_is_refused(homes: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.csv", [row | {"prediction": 1} for row in ROWS])
    with pytest.raises(DataError, match="'prediction' already"):
        score(homes, data, tmp_path / "out.csv")


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_a_file_without_rows_gives_a_file_with_columns(homes: Path, tmp_path: Path, source: str) -> None:
    data, out = tmp_path / f"data.{source}", tmp_path / "out.csv"
    if source == "csv":
        data.write_text("square_feet,bedrooms,region\n")
    else:
        pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), data)
    assert score(homes, data, out) == 0
    assert out.read_text() == "square_feet,bedrooms,region,prediction\n"


def test_a_model_whose_files_were_changed_is_not_loaded(homes: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.csv", ROWS)
    with pytest.raises(ArtifactError, match=r"model\.skops"):
        files = json.loads((homes / "_complete").read_text()) | {"model.skops": "0" * 64}
        score(homes, data, tmp_path / "out.csv", files=files)


def test_quoted_line_ends_empty_cells_and_a_byte_order_mark_are_read(homes: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data.csv", tmp_path / "out.jsonl"
    data.write_bytes(
        b'\xef\xbb\xbfsquare_feet,bedrooms,region,note\r\n1200.5,3,north,"two\r\nlines"\r\n,,,\r\n'
    )
    assert score(homes, data, out) == 2
    first, second = read(out)
    assert first["note"] == "two\r\nlines"
    assert second["square_feet"] is None and second["prediction"] > 0


def test_the_memory_of_tables_does_not_grow_with_the_file(homes: Path, tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        data = write(
            tmp_path / f"{rows}.csv", [ROWS[number % 3] | {"note": "x" * 2_000} for number in range(rows)]
        )
        pool = pa.default_memory_pool()
        seen: list[int] = []
        score(
            homes,
            data,
            tmp_path / "out.csv",
            batch_rows=2_000,
            progress=lambda _: seen.append(pool.bytes_allocated()),
        )
        return max(seen)

    # pyarrow reads 32 blocks of 1 MiB ahead: the smaller file is longer than that.
    small = peak(25_000)
    assert small < 80 << 20
    assert peak(75_000) < small * 1.3
