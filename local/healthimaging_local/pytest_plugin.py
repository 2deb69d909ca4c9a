"""Fixtures for tests of stacks that import into HealthImaging: a cloud once a session, a fresh account for each test.

With pytest-xdist each worker has a cloud of its own. A cloud ends with the process that started it, however that ends.

Example::

    def test_the_stack_imports(healthimaging_account):
        deployed = healthimaging_account.deploy(app)["Imaging"]
        assert deployed.status == "CREATE_COMPLETE", deployed.reason

``healthimaging_cloud_options`` is there to be overridden in a conftest.py: it returns arguments of ``Cloud``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from healthimaging_local import Account, Cloud


def pytest_configure() -> None:
    """Let synth find the Node.js of the extra where the machine has none. What is set already stays."""
    if "JSII_NODE" not in os.environ and not shutil.which("node"):
        from healthimaging_local.node import packaged_node  # noqa: PLC0415 - every session of pytest passes here

        node = packaged_node()
        if node:
            os.environ["JSII_NODE"] = str(node)


@pytest.fixture(scope="session")
def healthimaging_cloud_options() -> dict[str, Any]:
    """Arguments of ``Cloud``: override this fixture to choose others. Here, the waits of Step Functions are short."""
    return {"wait_scale": 0.05}


@pytest.fixture(scope="session")
def healthimaging_cloud(healthimaging_cloud_options: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """A local cloud, started once a session; its own account is bootstrapped."""
    from healthimaging_local import Account, Cloud  # noqa: PLC0415 - every session of pytest loads this module

    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    options = {"name": f"pytest-{worker}-{os.getpid()}", **healthimaging_cloud_options}
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # the first start says what it installs
        cloud = Cloud(**options).start()
    try:
        Account(cloud, cloud.account).bootstrap()
        yield cloud
    finally:
        cloud.stop()


@pytest.fixture
def healthimaging_account(healthimaging_cloud: Cloud) -> Account:
    """A bootstrapped account of the cloud that no other test has; no calls are counted and no errors injected yet."""
    from healthimaging_local.node import check_node  # noqa: PLC0415 - every session of pytest loads this module

    check_node(os.environ)
    healthimaging_cloud.clear()
    return healthimaging_cloud.new_account()
