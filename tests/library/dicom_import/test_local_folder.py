"""Local folders: what synth accepts is imported file by file, and the rest is refused by name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from aws_cdk import App, Size, Stack, Stage, SymlinkFollowMode, Token
from aws_cdk.aws_s3_assets import Asset

from healthimaging_cdk import DicomImport, ImportQuotas, ImportSource
from healthimaging_cdk.dicom_import import _local_folder

pytestmark = pytest.mark.slow

LARGEST = 1_073_741_823
ALWAYS = SymlinkFollowMode.ALWAYS


@pytest.fixture
def folder(tmp_path):
    """A folder with one file."""
    path = tmp_path / "phantoms"
    path.mkdir()
    (path / "a.dcm").write_bytes(b"a")
    return path


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def staged(source: ImportSource) -> dict[str, bytes]:
    """What CDK stages for the CLI to zip."""
    app = App(analytics_reporting=False)
    DicomImport(Stack(app, "Stack"), "Import", source=source)
    (asset,) = (it for it in Path(app.synth().directory).glob("asset.*") if not (it / "healthimaging_import").exists())
    return {str(file.relative_to(asset)): file.read_bytes() for file in asset.rglob("*") if file.is_file()}


def hash_of(folder: Path, **options) -> str:
    stack = Stack(App(), "Stack")
    return DicomImport(stack, "Import", source=ImportSource.directory(folder, **options)).input_prefix


# -- litter and exclude ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.dcm", "deep/.hidden/.DS_Store"])
def test_what_file_managers_leave_behind_is_neither_imported_nor_a_change(folder, name):
    before = hash_of(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"litter")
    source = ImportSource.directory(folder)
    assert {"a.dcm": 1} == source.folder.files
    assert {"a.dcm": b"a"} == staged(source)
    assert before == hash_of(folder)


@pytest.mark.parametrize("name", ["__MACOSX", ".git"])
def test_folders_of_archives_and_of_git_are_left_out(folder, name):
    (folder / name / "deep").mkdir(parents=True)
    (folder / name / "deep" / "b.dcm").write_bytes(b"b")
    assert {"a.dcm": b"a"} == staged(ImportSource.directory(folder))


def test_a_folder_without_links_and_litter_has_the_hash_that_cdk_gives_it(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "b.dcm").write_bytes(b"b")
    expected = Asset(Stack(App(), "Stack"), "Files", path=str(folder)).asset_hash
    assert f"dicom/{expected}/" == hash_of(folder)


def test_exclude_is_what_it_is_in_cdk(folder):
    for name in ("b.txt", "deep/c.dcm", "deep/d.txt", "deep/keep.txt", "raw/e.dcm"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    source = ImportSource.directory(folder, exclude=["*.txt", "!keep.txt", "raw"])
    assert ["a.dcm", "deep/c.dcm", "deep/keep.txt"] == sorted(source.folder.files) == sorted(staged(source))


def test_exclude_can_take_litter_in_again(folder):
    (folder / "._b.dcm").write_bytes(b"b")
    source = ImportSource.directory(folder, exclude=["!._b.dcm"])
    assert {"a.dcm", "._b.dcm"} == set(source.folder.files) == set(staged(source))


def test_what_is_excluded_is_not_refused(folder, tmp_path):
    (folder / "gone.dcm").symlink_to(tmp_path / "nowhere")
    sparse(folder / "large.raw", LARGEST + 1)
    assert {"a.dcm": b"a"} == staged(ImportSource.directory(folder, exclude=["gone.dcm", "*.raw"]))


def test_fails_a_folder_of_nothing_but_litter(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"x")
    with pytest.raises(ValueError, match="holds no file: put the DICOM P10 files there before synth"):
        ImportSource.directory(tmp_path)


# -- how much --------------------------------------------------------------------------------------------------------


def test_fails_a_file_that_the_cdk_cli_cannot_zip(folder):
    sparse(folder / "large.dcm", LARGEST + 1)
    expected = rf"large.dcm \({LARGEST + 1} bytes\): files have more than the {LARGEST} bytes .*use ImportSource.bucket"
    with pytest.raises(ValueError, match=expected):
        ImportSource.directory(folder)


def test_the_largest_file_that_the_cdk_cli_zips_is_accepted(folder):
    sparse(folder / "large.dcm", LARGEST)
    assert {"a.dcm": 1, "large.dcm": LARGEST} == ImportSource.directory(folder).folder.files


@pytest.mark.long
def test_fails_more_files_than_one_job_takes_and_says_how_many(folder, stack):
    for number in range(5_000):
        (folder / f"{number:04}").touch()
    source = ImportSource.directory(folder)
    with pytest.raises(ValueError, match=r"phantoms' holds 5001 files, one import job takes 5000: split it"):
        DicomImport(stack, "Import", source=source)
    assert [] == stack.node.children
    DicomImport(stack, "Import", source=source, quotas=ImportQuotas(files=5_001))


def test_fails_more_bytes_than_one_job_takes_and_says_how_many(folder, stack):
    for number in range(11):
        sparse(folder / f"{number}.dcm", 1_000_000_000)
    expected = r"holds 11000000001 bytes, one import job takes 10737418240"
    with pytest.raises(ValueError, match=expected):
        DicomImport(stack, "Import", source=ImportSource.directory(folder))


def test_fails_a_file_larger_than_the_quota_by_name(folder, stack):
    sparse(folder / "b.dcm", 2 * 1024**2)
    with pytest.raises(ValueError, match=r"holds 'b.dcm' of 2097152 bytes, one file may have 1048576"):
        DicomImport(stack, "Import", source=ImportSource.directory(folder), quotas=ImportQuotas(file=Size.mebibytes(1)))


@pytest.mark.long
def test_fails_a_folder_that_links_make_endless(folder):
    for number in range(20):
        deeper = folder / f"{number:02}"
        deeper.mkdir()
        if number:
            for name in ("left", "right"):
                (folder / f"{number - 1:02}" / name).symlink_to(deeper)
    (deeper / "b.dcm").write_bytes(b"b")
    with pytest.raises(ValueError, match="holds more than 100000 files and folders"):
        ImportSource.directory(folder)


# -- which folder ----------------------------------------------------------------------------------------------------


def test_fails_an_empty_path():
    with pytest.raises(ValueError, match="path is empty, which means the working directory: name a folder"):
        ImportSource.directory("")


@pytest.mark.parametrize("path", [".", "..", "../..", "sub/.."])
def test_fails_the_working_directory_and_what_it_is_in(folder, monkeypatch, path):
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match="is or holds the working directory, with the app and its output"):
        ImportSource.directory(path)


@pytest.mark.parametrize("place", ["cdk.out", "deep/cdk.out"])
def test_fails_a_folder_that_holds_the_output_of_the_app(folder, place):
    app = App(outdir=str(folder / place))
    for scope in (app, Stage(app, "Stage")):
        with pytest.raises(ValueError, match=r"holds the app's output \(.*cdk.out\), which would be"):
            DicomImport(Stack(scope, "Stack"), "Import", source=ImportSource.directory(folder))


def test_fails_a_folder_with_a_link_to_where_the_output_is(folder, tmp_path):
    (folder / "work").symlink_to(tmp_path / "work")
    (tmp_path / "work").mkdir()
    stack = Stack(App(outdir=str(tmp_path / "work" / "cdk.out")), "Stack")
    with pytest.raises(ValueError, match="holds the app's output"):
        DicomImport(stack, "Import", source=ImportSource.directory(folder, follow_symlinks=ALWAYS))


def test_a_folder_beside_the_output_is_accepted(folder, tmp_path):
    DicomImport(Stack(App(outdir=str(tmp_path / "cdk.out")), "Stack"), "I", source=ImportSource.directory(folder))


def test_a_link_to_a_folder_is_that_folder(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert {"a.dcm": b"a"} == staged(ImportSource.directory(tmp_path / "link"))
    assert hash_of(folder) == hash_of(tmp_path / "link")


# -- links -----------------------------------------------------------------------------------------------------------


def test_links_within_the_folder_are_files_like_others(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "b.dcm").write_bytes(b"b")
    (folder / "absolute.dcm").symlink_to(folder / "a.dcm")
    (folder / "relative.dcm").symlink_to("deep/b.dcm")
    (folder / "again").symlink_to("deep")
    expected = {"a.dcm": b"a", "absolute.dcm": b"a", "relative.dcm": b"b", "deep/b.dcm": b"b", "again/b.dcm": b"b"}
    source = ImportSource.directory(folder)
    assert expected == staged(source)
    assert set(expected) == set(source.folder.files)


def test_links_into_a_folder_that_is_left_out_are_followed(folder):
    (folder / ".git" / "annex").mkdir(parents=True)
    (folder / ".git" / "annex" / "key").write_bytes(b"study")
    (folder / "study.dcm").symlink_to(".git/annex/key")
    assert {"a.dcm": b"a", "study.dcm": b"study"} == staged(ImportSource.directory(folder))


def test_fails_links_that_lead_nowhere_by_name(folder):
    for number in range(5):
        (folder / f"{number}.dcm").symlink_to(".git/annex/absent")
    expected = r"'0.dcm', '1.dcm', '2.dcm' and 2 more: links lead to no file: .*git annex get.*exclude"
    with pytest.raises(ValueError, match=expected):
        ImportSource.directory(folder)


def test_fails_links_that_lead_out_of_the_folder_unless_asked_for(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link.dcm").symlink_to("../secret")
    with pytest.raises(ValueError, match=r"'link.dcm': links lead out of the folder: .*SymlinkFollowMode.ALWAYS"):
        ImportSource.directory(folder)
    assert {"a.dcm": b"a", "link.dcm": b"secret"} == staged(ImportSource.directory(folder, follow_symlinks=ALWAYS))


def test_fails_a_folder_that_only_begins_like_this_one(folder, tmp_path):
    (tmp_path / "phantoms-secret").mkdir()
    (folder / "link").symlink_to("../phantoms-secret")
    with pytest.raises(ValueError, match="'link': links lead out of the folder"):
        ImportSource.directory(folder)


@pytest.mark.parametrize("mode", [SymlinkFollowMode.BLOCK_EXTERNAL, ALWAYS])
@pytest.mark.parametrize("target", [".", "..", "../phantoms", "sub", "sub/again"])
def test_fails_loops_by_name(folder, mode, target):
    (folder / "sub").mkdir()
    (folder / "sub" / "again").symlink_to(folder)
    if target != "sub/again":
        (folder / "loop").symlink_to(target)
    with pytest.raises(ValueError, match=r"'(loop|sub/again)[^']*'.*: links lead (back|out)"):
        ImportSource.directory(folder, follow_symlinks=mode)


def test_fails_a_link_to_itself(folder):
    (folder / "self.dcm").symlink_to("self.dcm")
    with pytest.raises(ValueError, match=r"'self.dcm': links lead to no file"):
        ImportSource.directory(folder)


@pytest.mark.parametrize("mode", [SymlinkFollowMode.NEVER, SymlinkFollowMode.EXTERNAL])
def test_fails_modes_that_leave_links_out(folder, mode):
    expected = "follow_symlinks must be one of SymlinkFollowMode.ALWAYS, SymlinkFollowMode.BLOCK_EXTERNAL"
    with pytest.raises(ValueError, match=expected):
        ImportSource.directory(folder, follow_symlinks=mode)


# -- names and modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\nb.dcm", "a\\b.dcm", "\x7f.dcm", "a\u2028b", "C:a.dcm", "c:/a.dcm", "\ufffe"])
def test_fails_names_that_do_not_arrive_as_they_are(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=re.escape(f"{name!a}: names have a backslash, a control character")):
        ImportSource.directory(folder)


def test_fails_names_that_are_not_utf_8(folder):
    Path(os.fsdecode(bytes(folder) + b"/\xff.dcm")).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"'\\udcff.dcm': names are not UTF-8: rename them"):
        ImportSource.directory(folder)
    with pytest.raises(ValueError, match="names are not UTF-8"):
        ImportSource.directory(folder, exclude=["*.txt"])


@pytest.mark.parametrize("given", ["dicom/", "", "d" * 99 + "/", None])
def test_fails_names_of_more_bytes_than_a_key_takes(folder, given):
    prefix = Token.as_string({"Ref": "Prefix"}) if given is None else given
    known = 0 if Token.is_unresolved(prefix) else len(prefix)
    room = 1024 - known - 65
    parts = ["é" * 100] * (room // 201)
    rest = room - 201 * len(parts)
    deep = folder.joinpath(*parts)
    deep.mkdir(parents=True)
    (deep / ("x" * rest)).write_bytes(b"x")
    assert 2 == len(ImportSource.directory(folder, prefix=prefix).folder.files)
    (deep / ("x" * (rest + 1))).write_bytes(b"x")
    with pytest.raises(ValueError, match="names make object keys of more than 1024 bytes"):
        ImportSource.directory(folder, prefix=prefix)


def test_fails_what_is_neither_file_nor_folder(folder):
    os.mkfifo(folder / "pipe.dcm")
    with pytest.raises(ValueError, match=r"'pipe.dcm': entries are neither files nor folders"):
        ImportSource.directory(folder)


def test_fails_files_and_folders_that_cannot_be_read():
    """By a process of somebody else, since root reads everything."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "secret.dcm").write_bytes(b"x")
        (folder / "secret.dcm").chmod(0)
        (folder / "closed").mkdir(mode=0)
        (folder / "link.dcm").symlink_to("closed/x")
        folder.chmod(0o755)
        found = as_nobody(folder)
    assert "'closed/', 'link.dcm', 'secret.dcm': files or folders cannot be read: change their modes" in found


def as_nobody(folder: Path) -> str:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "import importlib.util as u\n"
        "spec = u.spec_from_file_location('local_folder', sys.argv[1]); module = u.module_from_spec(spec)\n"
        "sys.modules['local_folder'] = module; spec.loader.exec_module(module)\n"
        "os.getuid() or os.setuid(65534)\n"
        "print('\\n'.join(module.survey_folder(Path(sys.argv[2])).violations))"
    )
    return subprocess.run(
        [sys.executable, "-c", script, _local_folder.__file__, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_every_violation_is_in_one_message(folder):
    (folder / "a\nb").write_bytes(b"x")
    (folder / "gone").symlink_to("absent")
    with pytest.raises(ValueError, match=r"prefix must end with '/'.*'a\\nb'.*; path .*'gone'"):
        ImportSource.directory(folder, prefix="x")
