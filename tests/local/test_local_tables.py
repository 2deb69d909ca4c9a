"""The launcher says in one sentence when the emulator is not the one it was written for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from healthimaging_local.cloud import ROOT
from healthimaging_local.tables import EMULATOR, NEEDED, PINNED_VERSION, EmulatorChangedError, check_tables


def test_fails_with_all_missing_names_and_the_pinned_version() -> None:
    needed = {"json": ("loads", "_gone"), "nowhere.at_all": ("x",)}
    with pytest.raises(EmulatorChangedError) as caught:
        check_tables(needed)
    assert str(caught.value).startswith(
        f"{EMULATOR} lacks json._gone, nowhere.at_all: the local cloud is written for {EMULATOR}=={PINNED_VERSION}"
    )


def test_the_pinned_version_is_the_required_one() -> None:
    requirements = (ROOT / "requirements" / "cloud.txt").read_text(encoding="utf-8")
    assert f"{EMULATOR}=={PINNED_VERSION}" in requirements.splitlines()


def test_every_name_taken_from_the_emulator_is_guarded() -> None:
    guarded = {name for names in NEEDED.values() for name in names}
    for module in ("access", "alarms", "emulator", "mends", "s3_patches", "stack_patches"):
        source = (ROOT / "local" / "healthimaging_local" / f"{module}.py").read_text(encoding="utf-8")
        aliases = set(re.findall(r"^from ministack[\w.]* import (.+)$", source, re.MULTILINE))
        names = {part.split(" as ")[-1].strip() for line in aliases for part in line.split(",")}
        used = {name for alias in names for name in re.findall(rf"(?<![\w.]){alias}\.(\w+)", source)}
        own = {"amazonaws", "role_trust_policy_for_arn"}  # a service's name, and what a mend adds
        assert set() == used - guarded - own, module


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
        [str(ROOT / ".cloud" / "venv" / "bin" / "python"), str(tmp_path / "without.py")],
        env={"PYTHONPATH": f"{ROOT / 'local'}:{ROOT / 'lambda'}", "TMPDIR": str(tmp_path), "GATEWAY_PORT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    last = ended.stderr.splitlines()[-1]
    assert (1, True) == (
        ended.returncode,
        last.startswith("ministack lacks ministack.core.iam_evaluator.evaluate_resource_policy: "),
    )
    assert "Traceback" not in ended.stderr
