"""Every public class has an example in its docstring, and every example is code that synthesizes."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path
from types import FunctionType

import pytest
from aws_cdk import assertions

import healthimaging_cdk
from tests.library.examples import Namespace

pytestmark = pytest.mark.slow

FAMILIES = ("grant_", "metric_", "on_")
"""Methods that differ only in what they name: an example of one shows how to use them all."""

CALLED_BY_CDK = {"validate"}
"""Methods that no user calls."""


class Checker(doctest.OutputChecker):
    """Constructs are made for what they do: what a line shows counts only where the example says it."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


def public_classes() -> list[type]:
    found = [getattr(healthimaging_cdk, name) for name in healthimaging_cdk.__all__]
    assert all(isinstance(public, type) for public in found), "teach this test what the example of anything else is"
    return found


def methods(public: type) -> dict[str, FunctionType]:
    """What users can call on a class, its base classes of this library included."""
    return {
        name: function
        for owner in reversed(public.__mro__)
        if owner.__module__.partition(".")[0] == "healthimaging_cdk"
        for name, member in vars(owner).items()
        if not name.startswith("_") and isinstance(function := getattr(member, "__func__", member), FunctionType)
    }


def documented() -> dict[str, str]:
    """The docstrings of all public classes and their methods, by a name to tell them by."""
    found = {}
    for public in public_classes():
        found[public.__name__] = inspect.cleandoc(public.__doc__ or "")
        for method in methods(public).values():
            found[method.__qualname__] = inspect.cleandoc(method.__doc__ or "")
    return found


DOCUMENTED = documented()
EXAMPLES = {name: doc for name, doc in DOCUMENTED.items() if ">>>" in doc}


def run(name: str, doc: str) -> tuple[Namespace, str]:
    """Run the example of a docstring; what it left, and what doctest has against it."""
    names = Namespace()
    test = doctest.DocTestParser().get_doctest(doc, names, name, None, None)
    said: list[str] = []
    doctest.DocTestRunner(Checker(), verbose=False).run(test, out=said.append, clear_globs=False)
    return names, "".join(said)


@pytest.fixture
def phantoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phantoms").mkdir()
    (tmp_path / "phantoms" / "one.dcm").write_bytes(bytes(128) + b"DICM")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("phantoms")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_synthesizes(name):
    names, said = run(name, EXAMPLES[name])
    assert "" == said
    assert [] == assertions.Annotations.from_stack(names.stack).find_error("*", assertions.Match.any_value())


def test_every_public_class_has_one_example():
    counts = {public.__name__: DOCUMENTED[public.__name__].count("Example:") for public in public_classes()}
    assert dict.fromkeys(counts, 1) == counts
    assert set(counts) <= set(EXAMPLES)


@pytest.mark.parametrize("public", public_classes(), ids=lambda public: public.__name__)
def test_every_method_is_shown_in_an_example(public):
    shown = "\n".join(re.findall(r"(?:>>>|\.\.\.) .*", "\n".join(EXAMPLES.values())))
    wanted = {next((family for family in FAMILIES if name.startswith(family)), f"{name}(") for name in methods(public)}
    wanted -= {f"{name}(" for name in CALLED_BY_CDK}
    assert [] == sorted(name for name in wanted if f".{name}" not in shown)


def test_every_method_has_a_docstring():
    assert [] == [name for name, doc in DOCUMENTED.items() if not doc]


def test_no_example_is_skipped():
    assert [] == [name for name, doc in EXAMPLES.items() if "doctest:" in doc]


@pytest.mark.parametrize(
    "line", ["Datastore(stack)", "Datastore(stack, 'A', datastore_name='a b')", "nonsense", "1\n2"]
)
def test_fails_an_example_that_does_not_run(line):
    _, said = run("wrong", f">>> {line}")
    assert "Failed example" in said
