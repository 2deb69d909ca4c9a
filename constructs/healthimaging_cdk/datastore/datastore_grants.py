"""What others may do with a data store: IAM actions, the resources each of them takes, and the store's key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import cast

from aws_cdk import Annotations
from aws_cdk import aws_iam as iam
from aws_cdk.aws_healthimaging import CfnDatastore
from aws_cdk.aws_kms import IKey, Key
from constructs import IConstruct

from healthimaging_cdk._common.added_grants import warn_unless_added
from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.environment import environment_of, stack_of
from healthimaging_cdk._common.iam_actions import (
    PASSED_TO_HEALTHIMAGING,
    action_violations,
    actions_granted_by,
    is_known,
    key_rights,
    takes_image_sets,
)
from healthimaging_cdk._common.kms_keys import grant_on_key
from healthimaging_cdk._common.messages import is_unresolved
from healthimaging_cdk._common.validation import Violations, known_to_differ
from healthimaging_cdk.datastore._store_base import StoreBase

_KEY_ID = "HealthImagingKey"


class DatastoreGrants:
    """The grants of a data store: one of this library, of CDK's own ``CfnDatastore``, or one that is only named.

    HealthImaging has no resource policies: a grant is a statement in a policy of the grantee, which names this data
    store and, for actions that take them, its image sets. A grantee that takes no policy gets nothing. The Grant says
    so (``success``, ``assert_success()``) where CDK knows, and synth warns of each
    (``healthimaging-cdk:grantNotAdded``). HealthImaging lets nobody of another account in, so a grantee whose account
    is known to be another than the store's is refused: they assume a role of the store's account.

    Where the store's customer-managed key is known, a grant includes the rights on it. Documented ("Data encryption" in
    the developer guide): every operation takes ``kms:DescribeKey``, reading and searching ``kms:Decrypt``, writing
    ``kms:GenerateDataKey``; and CloudTrail shows HealthImaging using them in the name of the caller. Inferred: that
    an action reads or writes as its access level in the service authorization reference says, and that
    CopyImageSet and UpdateImageSetMetadata read what they write. The statement has no ``kms:ViaService`` condition, as
    AWS does not document its value for HealthImaging, and a wrong one would refuse every call. It stands in the
    grantee's policy alone, which is all that CDK's own key policies ask for: a key of another account also has to let
    the grantee in by its key policy.

    Raises:
        TypeError: a grantee or role is none.
        ValueError: the grantee, or the data access role, is of another account than the store.

    Example:
        >>> plain = healthimaging.CfnDatastore(stack, "Plain", kms_key_arn=key.key_arn)
        >>> grants = DatastoreGrants.from_datastore(plain)
        >>> granted = grants.read(viewer)
        >>> granted = grants.write(curator)
        >>> granted = grants.delete_image_sets(curator)
        >>> granted = grants.start_import(scheduler, data_access_role)
        >>> granted = grants.manage_import_jobs(scheduler)
        >>> granted = grants.actions(auditor, "medical-imaging:GetDatastore")

    See:
        https://docs.aws.amazon.com/healthimaging/latest/devguide/kms-best-practices.html
    """

    def __init__(self, datastore: IConstruct, datastore_arn: str, encryption_key: IKey | None) -> None:
        self._datastore = datastore
        self._datastore_arn = datastore_arn
        self._encryption_key = encryption_key

    @staticmethod
    @check_types
    def from_datastore(datastore: StoreBase | CfnDatastore) -> DatastoreGrants:
        """Take the grants of a data store.

        Args:
            datastore: a ``Datastore``, an ``IDatastore``, or CDK's ``CfnDatastore``, whose ``kms_key_arn`` is the key
                of the grants.

        Raises:
            TypeError: it is none of these.

        Example:
            >>> granted = DatastoreGrants.from_datastore(store).read(viewer)
        """
        if isinstance(datastore, StoreBase):
            return DatastoreGrants(datastore, datastore.datastore_arn, datastore.encryption_key)
        return DatastoreGrants(datastore, datastore.attr_datastore_arn, _key_of(datastore))

    @check_types
    def read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody find and read everything the store holds, by HealthImaging's own API and by DICOMweb.

        That is the store itself, image sets with their versions, metadata and frames, DICOM studies, series, instances
        and bulk data, and tags. Import jobs are not among it: see :meth:`manage_import_jobs`.

        Args:
            grantee: who may.
        """
        return self._grant("grant_read", grantee)

    @check_types
    def write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody copy image sets, update their metadata, and store DICOM instances by DICOMweb (STOW-RS).

        UpdateImageSetMetadata can also revert an image set to an earlier version. Reading is granted by :meth:`read`,
        deleting by :meth:`delete_image_sets`, importing by :meth:`start_import`.

        Args:
            grantee: who may.
        """
        return self._grant("grant_write", grantee)

    @check_types
    def delete_image_sets(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody delete image sets. The store itself cannot be deleted with this grant.

        Args:
            grantee: who may.
        """
        return self._grant("grant_delete_image_sets", grantee)

    @check_types
    def start_import(self, grantee: iam.IGrantable, data_access_role: iam.IRole) -> iam.Grant:
        """Let somebody start import jobs with one data access role, which is passed to HealthImaging alone.

        To poll the jobs takes :meth:`manage_import_jobs`.

        Args:
            grantee: who may.
            data_access_role: the role that HealthImaging assumes, for example a :class:`DataAccessRole`.

        See:
            https://docs.aws.amazon.com/healthimaging/latest/devguide/start-dicom-import-job.html
        """
        started = self._grant("grant_start_import", grantee, data_access_role)
        passed = iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["iam:PassRole"],
            resource_arns=[data_access_role.role_arn],
            conditions=PASSED_TO_HEALTHIMAGING,
        )
        return started.combine(passed)

    @check_types
    def manage_import_jobs(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody list the store's import jobs and look at each. HealthImaging has no other action on them.

        Args:
            grantee: who may.
        """
        return self._grant("grant_manage_import_jobs", grantee)

    @check_types
    def actions(self, grantee: iam.IGrantable, *actions: str) -> iam.Grant:
        """Let somebody do exactly what is listed, each action on the resources that it takes.

        An action that this release does not know is granted on the store and all its image sets, with the rights on the
        key that reading and writing take, and synth warns of it: AWS may have added it since, or it may be misspelt.

        Args:
            grantee: who may.
            actions: IAM actions, for example ``medical-imaging:GetImageFrame``. No wildcards.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: there is no action, or one is not of HealthImaging, has a wildcard, or takes no data store.
        """
        return self._grant("grant", grantee, actions=actions)

    def _grant(
        self,
        method: str,
        grantee: iam.IGrantable,
        data_access_role: iam.IRole | None = None,
        *,
        actions: Sequence[str] | None = None,
    ) -> iam.Grant:
        violations = Violations(f"Datastore.{method}", self._datastore)
        granted = actions_granted_by(method) if actions is None else actions
        if not granted:
            violations.add("actions must name at least one action, for example medical-imaging:GetImageFrame")
        violations.add(*(it for action in granted for it in action_violations(action)))
        self._check_accounts(violations, grantee, data_access_role)
        violations.raise_any()
        for action in granted:
            if not is_unresolved(action) and not is_known(action):
                Annotations.of(self._datastore).add_warning_v2(
                    "healthimaging-cdk:unknownAction",
                    f"{action} was not known when this library was released: it is granted on the data store and all "
                    "its image sets; correct it, or acknowledge this warning if AWS has added the action",
                )
        return warn_unless_added(self._datastore, method, grantee, self._add(grantee, granted))

    def _check_accounts(
        self, violations: Violations, grantee: iam.IGrantable, data_access_role: iam.IRole | None
    ) -> None:
        datastore = self._datastore
        here = environment_of(datastore if isinstance(datastore, StoreBase) else stack_of(datastore))
        # Not every principal has the attribute.
        account: str | None = getattr(grantee.grant_principal, "principal_account", None)
        if account is not None and known_to_differ(account, here.account):
            violations.add(
                f"grantee is of account {account} and the data store of {here.account}: HealthImaging lets nobody of "
                f"another account in, let them assume a role of account {here.account}"
            )
        advice = "use a role of the data store's account"
        violations.check_place("data_access_role", data_access_role, here, user="the data store", account=advice)

    def _add(self, grantee: iam.IGrantable, actions: Sequence[str]) -> iam.Grant:
        arn = self._datastore_arn
        grant = reduce(
            iam.Grant.combine,
            [
                iam.Grant.add_to_principal(grantee=grantee, actions=taking, resource_arns=resources)
                for image_sets, resources in ((False, [arn]), (True, [arn, f"{arn}/imageset/*"]))
                if (taking := [action for action in dict.fromkeys(actions) if takes_image_sets(action) == image_sets])
            ],
        )
        if self._encryption_key is None or not grant.success:
            return grant
        return grant.combine(grant_on_key(grantee, self._encryption_key, key_rights(*actions)))


def _key_of(datastore: CfnDatastore) -> IKey | None:
    """The key of an L1. CDK takes a token for the ARN of a key; the ARN of an alias is one of text."""
    if datastore.kms_key_arn is None:
        return None
    found = datastore.node.try_find_child(_KEY_ID)
    return cast("IKey", found) if found else Key.from_key_arn(datastore, _KEY_ID, datastore.kms_key_arn)


__all__ = ["DatastoreGrants"]
