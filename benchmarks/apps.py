"""The apps that are compared. Each imports what it needs only when it is built, as an app of its own would."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_cdk import Stack


class AppName(StrEnum):
    """The names of the apps, as the tables have them."""

    EMPTY = "empty app"
    DATASTORE = "`Datastore`"
    LIBRARY = "`DicomImport`"
    CHECKED = "`DicomImport` with `HealthImagingChecks`"
    AWS_CUSTOM_RESOURCE = "AwsCustomResource"
    PROVIDER = "Provider"


WITH_IMPORTS = (AppName.LIBRARY, AppName.AWS_CUSTOM_RESOURCE, AppName.PROVIDER)


def add_to(stack: Stack, name: AppName, imports: int) -> None:
    """Add an app's resources to a stack."""
    _BUILDERS[name](stack, imports)


def _add_nothing(_: Stack, __: int) -> None:
    pass


def _add_datastore(stack: Stack, _: int) -> None:
    from benchmarks.styles.library import add_datastore  # noqa: PLC0415 - the other apps do not import it

    add_datastore(stack)


def _add_library(stack: Stack, imports: int) -> None:
    from benchmarks.styles.library import add_imports  # noqa: PLC0415 - the other apps do not import it

    add_imports(stack, imports)


def _add_checked(stack: Stack, imports: int) -> None:
    from aws_cdk import App, Validations  # noqa: PLC0415 - the other apps do not import it

    from healthimaging_cdk import HealthImagingChecks  # noqa: PLC0415 - as above

    _add_library(stack, imports)
    root = App.of(stack)
    if root is not None:
        Validations.of(root).add_plugins(HealthImagingChecks())


def _add_aws_custom_resource(stack: Stack, imports: int) -> None:
    from benchmarks.styles.aws_custom_resource import add_imports  # noqa: PLC0415 - the other apps do not import it

    add_imports(stack, imports)


def _add_provider(stack: Stack, imports: int) -> None:
    from benchmarks.styles.provider import add_imports  # noqa: PLC0415 - the other apps do not import it

    add_imports(stack, imports)


_BUILDERS: dict[AppName, Callable[[Stack, int], None]] = {
    AppName.EMPTY: _add_nothing,
    AppName.DATASTORE: _add_datastore,
    AppName.LIBRARY: _add_library,
    AppName.CHECKED: _add_checked,
    AppName.AWS_CUSTOM_RESOURCE: _add_aws_custom_resource,
    AppName.PROVIDER: _add_provider,
}
