"""From a local folder to the input bucket: CDK stages it, the CDK CLI zips it, the function unpacks it."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aws_cdk import App, Stack
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from healthimaging_cdk import DicomImport, ImportSource
from healthimaging_import.importing.request import Asset
from healthimaging_import.importing.unpack import unpack
from tests.handler.fake_aws import SOURCE

pytestmark = pytest.mark.slow

LARGEST = 1_073_741_823
LOOP_DEPTH = 12
"""Deeper than nine entries make a path, and shorter than a path may be."""
ODD = [
    *("._a", ".DS_Store", "__MACOSX", "Thumbs.db", ".git", "a\nb", "a\\b", "C:x", "x\u2028", "\x01", "\ufffe"),
    *("é", "e\u0301", " ", "a b.dcm", "#x", "!x", "{a,b}", "[a]", "*", "?", "-rf", "..a", "...", "a:b", "検査", "😀"),
    "x" * 200,
]
UNSAFE = set("\\\u2028\u2029\ufffe\uffff\x7f") | set(map(chr, range(0x20))) | set(map(chr, range(0x80, 0xA0)))
NAMES = st.sampled_from([*"abc", *ODD]) | st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=9)
BYTE_NAMES = NAMES.filter(lambda it: it not in {"", ".", ".."}).map(str.encode) | st.just(b"\xff")


@dataclass
class Entry:
    """Something in a folder: a folder of entries, a file of some bytes, or a link."""

    name: bytes
    kind: str
    size: int = 7
    target: str = ""


NUMBERS = itertools.count()
FILE = Entry(b"a", "file")
ENTRIES = st.builds(
    Entry,
    name=BYTE_NAMES,
    kind=st.sampled_from(["file", "file", "file", "enter", "leave", "link", "pipe"]),
    size=st.sampled_from([0, 1, 7, 1000, LARGEST + 1]),
    target=st.sampled_from(["a", "b", "../a", "a/b", ".", "..", "absent", "/etc/hostname", "../../outside", "c"]),
)


def fill(root: Path, entries: list[Entry]) -> None:
    here = root
    for entry in entries:
        path = Path(os.fsdecode(os.path.join(bytes(here), entry.name)))  # noqa: PTH118 - of bytes
        if entry.kind == "leave":
            here = here.parent if here != root else root
        elif path.exists() or path.is_symlink() or len(entry.name) > 255:
            continue
        elif entry.kind == "enter":
            path.mkdir()
            here = path
        elif entry.kind == "link":
            path.symlink_to(entry.target)
        elif entry.kind == "pipe":
            os.mkfifo(path)
        else:
            with path.open("wb") as file:
                file.write(entry.name[: entry.size])
                file.truncate(entry.size)


def is_litter(name: str) -> bool:
    return name.startswith("._") or name in {".DS_Store", "__MACOSX", "Thumbs.db", ".git"}


def listed(folder: Path, name: str = "", depth: int = 0) -> Iterator[tuple[str, Path]]:
    """What a person sees in a folder, by the names that they see; a loop is twelve folders deep."""
    for child in folder.iterdir():
        if is_litter(child.name):
            continue
        inner = f"{name}/{child.name}" if name else child.name
        if child.is_dir() and depth < LOOP_DEPTH:
            yield from listed(child, inner, depth + 1)
        else:
            yield inner, child


def reasons(root: Path) -> list[str]:
    """Why a folder cannot be imported, found in another way than the library does."""
    found = [_wrong_entry(path, root) for path in root.rglob("*")]
    for name, path in listed(root):
        if name.count("/") >= LOOP_DEPTH:
            found.append("links lead back")
            break
        if "\udcff" not in name and path.exists():
            found += _wrong_file(path, name)
    return [reason for reason in found if reason]


def _wrong_entry(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    if any(map(is_litter, parts)):
        return ""
    if "\udcff" in "/".join(parts):
        return "not UTF-8"
    if not path.is_symlink():
        return ""
    if not path.exists():
        return "links lead to no file"
    return "" if path.resolve().is_relative_to(root.resolve()) else "links lead out"


def _wrong_file(path: Path, name: str) -> list[str]:
    if not path.is_file():
        return ["neither files nor folders"]
    is_changed = set(name) & UNSAFE or (name[0].isalpha() and name[0].isascii() and name[1:2] == ":")
    found = ["names have a backslash"] if is_changed else []
    found += ["more than the"] if path.stat().st_size > LARGEST else []
    return found + (["more than 1024 bytes"] if len(name.encode()) + 71 > 1024 else [])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("local")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(entries=st.lists(ENTRIES, max_size=9))
@example(entries=[Entry(b"a", "enter"), FILE, Entry(b"d", "leave"), Entry(b"c", "link", target="a")])
@example(entries=[Entry(b"x" * 250, "link", target=".")])
@example(entries=[FILE, Entry(b"b", "link", target="a"), Entry("é".encode(), "link", target="b")])
def test_what_synth_accepts_is_imported_file_by_file_or_refused_by_name(  # noqa: PLR0917 - fixtures
    entries, place, cli_zip, calls, aws, request_for
):
    for older in place.iterdir():
        shutil.rmtree(older)
    place /= str(next(NUMBERS))  # CDK remembers what it has staged
    root = place / "outer" / "folder"
    root.mkdir(parents=True)
    (place / "outside").write_bytes(b"outside")
    fill(root, entries)
    expected = reasons(root)
    try:
        source = ImportSource.directory(root)
    except ValueError as error:
        assert [it for it in [*expected, "holds no file"] if it in str(error)]  # noqa: PT017 - there may be none
        return
    assert [] == expected
    wanted = {name: path.read_bytes() for name, path in listed(root)}
    app = App(outdir=str(place / "cdk.out"))
    DicomImport(Stack(app, "Stack"), "Import", source=source)
    (staged,) = (it for it in Path(app.synth().directory).glob("asset.*") if not (it / "healthimaging_import").exists())
    cli_zip.write(staged, place / "local.zip")
    aws.objects.clear()
    aws.put("assets", "local.zip", (place / "local.zip").read_bytes())
    assert unpack(calls, request_for(asset=Asset("assets", "local.zip"), input_prefix="x/"), 0, lambda: 600.0) is None
    assert wanted == {key.removeprefix("x/"): aws.objects[SOURCE, key] for key in aws.keys(SOURCE)}
