"""The launcher says in one sentence when the emulator is not the one it was written for."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from healthimaging_local.environments import installed_environment
from healthimaging_local.patches import PATCHES, apply_patches
from healthimaging_local.paths import PACKAGE, lambda_root
from healthimaging_local.tables import EMULATOR, NEEDED, PINNED_VERSION, EmulatorChangedError, check_tables


def test_fails_with_all_missing_names_and_the_pinned_version() -> None:
    needed = {"json": ("loads", "_gone"), "nowhere.at_all": ("x",)}
    with pytest.raises(EmulatorChangedError) as caught:
        check_tables(needed)
    assert str(caught.value).startswith(
        f"{EMULATOR} lacks json._gone, nowhere.at_all: the local cloud is written for {EMULATOR}=={PINNED_VERSION}"
    )


def test_the_pinned_version_is_the_required_one() -> None:
    requirements = (PACKAGE / "requirements" / "emulator.txt").read_text(encoding="utf-8")
    assert f"{EMULATOR}=={PINNED_VERSION}" in requirements.splitlines()


def test_every_name_taken_from_the_emulator_is_guarded() -> None:
    guarded = {name for names in NEEDED.values() for name in names}
    modules = [
        PACKAGE / f"{name}.py" for name in ("access", "decisions", "emulator", "keys", "machine_rights", "machine_runs")
    ]
    for module in (*modules, *sorted(PACKAGE.glob("patches/*.py"))):
        source = module.read_text(encoding="utf-8")
        aliases = set(re.findall(r"^from ministack[\w.]* import (.+)$", source, re.MULTILINE))
        names = {part.split(" as ")[-1].strip() for line in aliases for part in line.split(",")}
        used = {name for alias in names for name in re.findall(rf"(?<![\w.]){alias}\.(\w+)", source)}
        own = {"amazonaws", "role_trust_policy_for_arn"}  # a service's name, and what a patch adds
        assert set() == used - guarded - own, module.name


def test_every_patch_that_is_written_is_applied_once() -> None:
    folder = PACKAGE / "patches"
    defined = {
        path.stem: [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        ]
        for path in folder.glob("*.py")
        if path.stem != "__init__"
    }
    assert {group: set(names) for group, names in defined.items()} == {g: set(names) for g, names in PATCHES.items()}
    assert all(len(names) == len(set(names)) for names in PATCHES.values())


def test_every_patch_is_named_by_a_test_that_fails_without_it() -> None:
    """`make try-emulator` runs them all without their patches, and none passes."""
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    named = {name for source in sources for name in re.findall(r'mark\.patch\("(\w+)"\)', source)}
    assert {name for names in PATCHES.values() for name in names} == named


def test_fails_to_leave_out_what_is_no_patch() -> None:
    with pytest.raises(ValueError, match="no patch is called sunshine"):
        apply_patches(["sunshine"])


@pytest.mark.cloud
def test_fails_at_start_when_a_table_is_gone(tmp_path: Path) -> None:
    """The real launcher against an emulator from which one private function was taken."""
    (tmp_path / "without.py").write_text(
        "import ministack.core.iam_evaluator as evaluator\n"
        "del evaluator.evaluate_resource_policy\n"
        "from healthimaging_local.launcher import main\n"
        "main()\n",
        encoding="utf-8",
    )
    ended = subprocess.run(
        [str(installed_environment().python), str(tmp_path / "without.py")],
        env={"PYTHONPATH": f"{PACKAGE.parent}:{lambda_root()}", "TMPDIR": str(tmp_path), "GATEWAY_PORT": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    last = ended.stderr.splitlines()[-1]
    assert (1, True) == (
        ended.returncode,
        last.startswith("ministack lacks ministack.core.iam_evaluator.evaluate_resource_policy: "),
    )
    assert "Traceback" not in ended.stderr
