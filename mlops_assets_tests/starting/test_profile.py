"""Looking at a file: delimiter, types, missing values, names, and clear words where it cannot be read."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.errors import DataError
from mlops_assets.sample_data import housing_batches
from mlops_assets.starting import look
from mlops_assets.starting.profile import Profile


def _csv(tmp_path: Path, text: str, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _types(profile: Profile) -> dict[str, str]:
    return {column.name: column.type for column in profile.columns}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_usual_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = ["a,b,c", '1,"x, y; z|\t",2.5', '2,"say ""hi""",3.5']
    text = "\n".join(
        row.replace(",", delimiter) if '"' not in row else _outside(row, delimiter) for row in rows
    )
    profile = look(_csv(tmp_path, text + "\n"))
    assert profile.delimiter == delimiter
    assert _types(profile) == {"a": "int", "b": "string", "c": "float"}
    assert profile.column("b").examples == ("x, y; z|", 'say "hi"')


def _outside(row: str, delimiter: str) -> str:
    """`row` with the commas outside its quotes replaced."""
    parts = row.split('"')
    return '"'.join(
        part.replace(",", delimiter) if index % 2 == 0 else part for index, part in enumerate(parts)
    )


def test_one_column_is_a_table_too(tmp_path: Path) -> None:
    assert _types(look(_csv(tmp_path, "size\n1\n2\n"))) == {"size": "int"}


def test_types_follow_the_text(tmp_path: Path) -> None:
    text = (
        "whole,part,yes,day,moment,words,postcode,mixed,empty\n"
        "1,1.5,true,2024-01-31,2024-01-31 10:00:00,one,01234,1,\n"
        "-2,1e3,FALSE,2024-02-29,2024-02-29T23:59:59,2024-13-45,12345,two,\n"
    )
    profile = look(_csv(tmp_path, text))
    assert _types(profile) == {
        "whole": "int",
        "part": "float",
        "yes": "bool",
        "day": "date",
        "moment": "timestamp",
        "words": "string",
        "postcode": "string",
        "mixed": "string",
        "empty": "string",
    }
    assert profile.column("part").maximum == 1000
    assert profile.column("day").minimum == date(2024, 1, 31)
    assert profile.column("moment").maximum == datetime(2024, 2, 29, 23, 59, 59)
    assert profile.column("empty").nulls == 2


def test_spellings_of_a_missing_value_are_found_and_counted(tmp_path: Path) -> None:
    text = "age,kind,note\n1,a,none\nNA,?,-\n3,b,\nunknown,a,x\n"
    profile = look(_csv(tmp_path, text))
    assert set(profile.null_values) == {"", "NA", "?", "unknown"}
    assert profile.column("age").type == "int"
    assert [profile.column(name).nulls for name in ("age", "kind", "note")] == [2, 1, 1]


def test_a_few_values_of_no_type_do_not_turn_numbers_into_text(tmp_path: Path) -> None:
    rows = "".join(f"{index},{index / 7}\n" for index in range(500))
    profile = look(_csv(tmp_path, "n,x\n" + rows + "501,about 3\n"))
    assert profile.column("x").type == "float"
    assert profile.column("x").unparsed == 1
    assert look(_csv(tmp_path, "x\n1\n2\nabout 3\n", "few.csv")).column("x").type == "string"


def test_whole_numbers_with_one_fraction_are_floats(tmp_path: Path) -> None:
    rows = "".join(f"{index}\n" for index in range(500))
    assert look(_csv(tmp_path, "x\n" + rows + "2.5\n")).column("x").type == "float"


def test_decimal_commas_and_thousands_are_numbers_to_a_model(tmp_path: Path) -> None:
    european = look(_csv(tmp_path, "preis;n\n1,5;1\n2,75;2\n3;3\n"))
    american = look(_csv(tmp_path, 'price,n\n"1,234",1\n"12,345.50",2\n999,3\n', "us.csv"))
    assert european.column("preis").form == "decimal_comma"
    assert sorted(european.sample()["preis"].to_pylist()) == [1.5, 2.75, 3.0]
    assert american.column("price").form == "thousands"
    assert american.column("price").maximum == 12345.5


def test_names_are_made_safe_and_columns_without_one_are_left_out(tmp_path: Path) -> None:
    profile = look(_csv(tmp_path, "\ufeffId,, Sale Price ,select,Note,Note\n1,2,3,4,5,6\n2,3,4,5,6,7\n"))
    assert [(column.source, column.name) for column in profile.columns] == [
        ("Id", "id"),
        ("Sale Price", "sale_price"),
        ("select", "select_"),
    ]
    assert profile.column("sale_price").minimum == 3
    assert "no name" in profile.left_out["(column 2)"]
    assert "same name" in profile.left_out["Note (column 5)"]
    assert "same name" in profile.left_out["Note (column 6)"]


def test_a_column_is_found_by_either_name_and_a_near_miss_is_named(tmp_path: Path) -> None:
    profile = look(_csv(tmp_path, "Sale Price,Rooms\n1,2\n2,2\n"))
    assert profile.column("Sale Price") is profile.column("sale_price") is profile.column("SALE PRICE")
    with pytest.raises(DataError, match="Did you mean Rooms"):
        profile.column("rrooms")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.csv", b"", "empty"),
        ("header.csv", b"a,b\n", "no rows"),
        ("latin.csv", "a,b\n1,x\n2,caf\u00e9\n".encode("latin-1"), r"line 3.*not UTF-8.*iconv"),
        ("utf16.csv", "a,b\n1,x\n".encode("utf-16"), "UTF-16.*iconv"),
        ("binary.csv", b"a,b\n1,\x00\n", "line 2.*NUL"),
        ("values.csv", b"1,2,3\n4,5,6\n", "values, not names.*on top"),
        ("broken.parquet", b"PAR1 and then nothing", "cannot be read"),
        ("book.xlsx", b"PK", "Save it as .csv or .parquet"),
        ("data.csv.gz", b"\x1f\x8b", "unpack it"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_mend(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"(?s){message}"):
        look(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: There is no such file"):
        look(tmp_path / "nowhere.csv")


def test_parquet_keeps_its_types_and_leaves_nested_columns_out(tmp_path: Path) -> None:
    table = pa.table(
        {
            "Id": pa.array([1, 2], pa.uint32()),
            "price": pa.array([1.5, None], pa.float32()),
            "ok": [True, False],
            "day": [date(2024, 1, 1), None],
            "at": pa.array([datetime(2024, 1, 1), datetime(2024, 1, 2)], pa.timestamp("us", tz="UTC")),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "tags": [["x"], []],
        }
    )
    pq.write_table(table, tmp_path / "data.parquet")
    profile = look(tmp_path / "data.parquet")
    assert _types(profile) == {
        "id": "int",
        "price": "float",
        "ok": "bool",
        "day": "date",
        "at": "timestamp",
        "kind": "string",
    }
    assert profile.column("price").nulls == 1
    assert list(profile.left_out) == ["tags"]


def test_counts_agree_with_pandas(tmp_path: Path) -> None:
    path = housing_batches(tmp_path, days=1, rows_per_day=3_000)[0]
    profile, frame = look(path), pd.read_csv(path)
    assert profile.rows == len(frame)
    for column in profile.columns:
        if column.numeric:
            assert column.minimum == frame[column.source].min()
            assert column.maximum == frame[column.source].max()
            assert column.distinct == pytest.approx(frame[column.source].nunique(), rel=0.1)


def test_the_sample_is_bounded_and_the_same_every_time(tmp_path: Path) -> None:
    profile = look(housing_batches(tmp_path, days=1, rows_per_day=3_000)[0])
    assert profile.sample(100).num_rows == 100
    assert profile.sample(100).equals(profile.sample(100))


@pytest.mark.slow
def test_memory_stays_bounded_as_rows_grow(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mlops_assets.starting import look\n"
        "look(Path(sys.argv[1])).sample()\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    path = housing_batches(tmp_path, days=1, rows_per_day=2_000_000)[0]
    kilobytes = int(subprocess.check_output([sys.executable, "-c", program, str(path)]))
    assert kilobytes < 450_000
