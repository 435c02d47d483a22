"""Artifact URIs: what is parsed is what was meant, and no key leads out of its prefix."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import PathEscapeError

ROOTS = st.sampled_from(["file:///data/store", "s3://bucket/prefix", "gs://bucket/p", "s3://bucket/"])
TRICKS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "%2e%2e",
        "%2E%2E%2F",
        "..%2f",
        "\u2024\u2024",
        "\u2025",
        "\\..",
        "..\\",
        "a\x00b",
        "\n",
        "~",
        "C:",
        "\uff0e\uff0e",
        " ",
    ]
)
SEGMENTS = st.one_of(TRICKS, st.text(max_size=12))
KEYS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)


def accepted(key: str) -> bool:
    """`key` is taken."""
    try:
        check_key(key)
    except PathEscapeError:
        return False
    return True


@given(KEYS)
def test_exactly_the_safe_keys_are_taken(key: str) -> None:
    segments = key.split("/")
    safe = (
        not any(segment in ("", ".", "..") for segment in segments)
        and not any(ord(letter) < 32 or ord(letter) == 127 or letter == "\\" for letter in key)
        and len(key.encode("utf-8", "surrogatepass")) <= 1024
    )
    assert accepted(key) is safe


@given(ROOTS, KEYS)
def test_a_joined_key_stays_below_its_root_and_comes_back(root: str, key: str) -> None:
    base = ArtifactUri(root)
    if not accepted(key):
        with pytest.raises(PathEscapeError):
            base.join(key)
        return
    uri = base.join(key)
    assert base.relative(uri) == key
    assert uri.name == key.rsplit("/", 1)[-1]
    assert (uri.scheme, uri.bucket) == (base.scheme, base.bucket)
    assert ArtifactUri(str(uri)) == uri


@given(KEYS.filter(accepted))
def test_a_local_path_never_leaves_the_folder_however_the_key_is_spelled(key: str) -> None:
    folder = PurePosixPath("/data/store")
    path = ArtifactUri("file:///data/store").join(key).path
    assert path.is_relative_to(folder)
    assert PurePosixPath(*path.parts) == path
    assert ".." not in path.parts
    assert len(path.parts) == len(folder.parts) + len(key.split("/"))


@given(st.text(max_size=40))
def test_any_text_is_an_artifact_uri_or_a_path_escape_error(text: str) -> None:
    try:
        uri = ArtifactUri(text)
    except PathEscapeError as error:
        assert "Mend:" in str(error)
    else:
        assert uri.scheme in ("file", "s3", "gs")


@pytest.mark.parametrize(
    "text",
    [
        "http://bucket/key",
        "file://host/key",
        "s3:///key",
        "s3://bucket",
        "s3://bucket/../other",
        "gs://bucket/a//b",
        "s3://bucket/a/./b",
        "file:///a/../../etc/passwd",
        "s3://bucket/nul\x00",
        "s3://bucket/new\nline",
        "/plain/path",
        "",
        "s3://bucket/" + "x" * 1025,
    ],
)
def test_what_could_lead_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(PathEscapeError):
        ArtifactUri(text)


def test_percent_signs_mean_themselves() -> None:
    uri = ArtifactUri("s3://bucket/x").join("%2e%2e", "k")
    assert uri.key == "x/%2e%2e/k"
    assert ArtifactUri("file:///store/%2e%2e").path == Path("/store/%2e%2e")


def test_a_sibling_with_the_same_beginning_is_not_below() -> None:
    with pytest.raises(PathEscapeError, match="not below"):
        ArtifactUri("s3://bucket/data").relative(ArtifactUri("s3://bucket/data-secret/key"))


def test_only_a_file_uri_has_a_path() -> None:
    with pytest.raises(PathEscapeError, match="not on this machine"):
        ArtifactUri("s3://bucket/key").path  # noqa: B018


def test_pydantic_checks_and_serialises_it_as_text() -> None:
    class Model(BaseModel):
        uri: ArtifactUri

    model = Model.model_validate({"uri": "s3://bucket/key/"})
    assert isinstance(model.uri, ArtifactUri)
    assert model.model_dump_json() == '{"uri":"s3://bucket/key"}'
    with pytest.raises(PathEscapeError):
        Model.model_validate({"uri": "s3://bucket/../key"})
