"""Why the function was called. It is found out once and stays with the execution."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """Why the function was called."""

    DEPLOY = "DEPLOY"
    """A create or an update, which waits for the job."""
    SUBMIT = "SUBMIT"
    """A create or an update, which does not."""
    ROLLBACK = "ROLLBACK"
    """An update that puts back what was there before: it starts nothing and never fails."""
    DELETE = "DELETE"
    """A deletion: it starts nothing and never fails."""
    CLEANUP = "CLEANUP"
    """The deletion of what an update has replaced, while the stack lives on: it waits, and leaves the record alone."""
    DETACHED = "DETACHED"
    """CloudFormation has its response; the job is polled for its verdict."""


DEPLOYS = (Mode.DEPLOY, Mode.SUBMIT)
"""The modes in which a job may be started."""
LAST = (Mode.DELETE, Mode.DETACHED)
"""The modes in which no other execution looks at the job after this one."""
