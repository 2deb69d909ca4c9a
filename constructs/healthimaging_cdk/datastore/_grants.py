"""What others may do with a data store: IAM actions, the resources each of them takes, and the store's key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import cast

from aws_cdk import Annotations, Resource, Token
from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import IKey
from constructs import IConstruct

from healthimaging_cdk._common.iam_actions import (
    PASSED_TO_HEALTHIMAGING,
    action_violations,
    actions_granted_by,
    is_known,
    key_rights,
    takes_image_sets,
)
from healthimaging_cdk._common.kms_keys import grant_on_key
from healthimaging_cdk._common.validation import GRANTEE, ROLE, TEXT, Violations, known_to_differ, list_of


class DatastoreGrants:
    """The grants of a data store, own or imported.

    HealthImaging has no resource policies: a grant is a statement in a policy of the grantee, which names this data
    store and, for actions that take them, its image sets. A grantee that takes no policy gets nothing, and the Grant
    says so (``success``, ``assert_success()``). HealthImaging lets nobody of another account in, so a grantee whose
    account is known to be another than the store's is refused: they assume a role of the store's account.

    Where the store's customer-managed key is known, a grant includes the rights on it. Documented ("Data encryption" in
    the developer guide): every operation takes ``kms:DescribeKey``, reading and searching ``kms:Decrypt``, writing
    ``kms:GenerateDataKey``; and CloudTrail shows HealthImaging using them in the name of the caller. Inferred: that
    an action reads or writes as its access level in the service authorization reference says, and that
    CopyImageSet and UpdateImageSetMetadata read what they write. The statement has no ``kms:ViaService`` condition, as
    AWS does not document its value for HealthImaging, and a wrong one would refuse every call. It stands in the
    grantee's policy alone, which is all that CDK's own key policies ask for: a key of another account also has to let
    the grantee in by its key policy.

    Raises:
        ValueError: the grantee, or the data-access role, is of another account than the store.
    """

    @property
    def datastore_arn(self) -> str:
        """The ARN of the data store."""
        raise NotImplementedError

    @property
    def encryption_key(self) -> IKey | None:
        """The customer-managed key of the data store, if it is known to have one."""
        raise NotImplementedError

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody find and read everything the store holds, by HealthImaging's own API and by DICOMweb.

        That is the store itself, image sets with their versions, metadata and frames, DICOM studies, series, instances
        and bulk data, and tags. Import jobs are not among it: see :meth:`grant_manage_import_jobs`.

        Args:
            grantee: who may.
        """
        return self._grant_what_has(self.grant_read.__name__, grantee)

    def grant_write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody copy image sets, update their metadata, and store DICOM instances by DICOMweb (STOW-RS).

        UpdateImageSetMetadata can also revert an image set to an earlier version. Reading is granted by
        :meth:`grant_read`, deleting by :meth:`grant_delete_image_sets`, importing by :meth:`grant_start_import`.

        Args:
            grantee: who may.
        """
        return self._grant_what_has(self.grant_write.__name__, grantee)

    def grant_delete_image_sets(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody delete image sets. The store itself cannot be deleted with this grant.

        Args:
            grantee: who may.
        """
        return self._grant_what_has(self.grant_delete_image_sets.__name__, grantee)

    def grant_start_import(self, grantee: iam.IGrantable, data_access_role: iam.IRole) -> iam.Grant:
        """Let somebody start import jobs with one data-access role, which is passed to HealthImaging alone.

        To follow the jobs takes :meth:`grant_manage_import_jobs`.

        Args:
            grantee: who may.
            data_access_role: the role that HealthImaging assumes, for example a :class:`DataAccessRole`.

        See:
            https://docs.aws.amazon.com/healthimaging/latest/devguide/start-dicom-import-job.html
        """
        kinds = {"grantee": GRANTEE, "data_access_role": ROLE}
        Violations("Datastore.grant_start_import").require_kinds(kinds, locals())
        started = self._grant_what_has(self.grant_start_import.__name__, grantee, data_access_role)
        passed = iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["iam:PassRole"],
            resource_arns=[data_access_role.role_arn],
            conditions=PASSED_TO_HEALTHIMAGING,
        )
        return started.combine(passed)

    def grant_manage_import_jobs(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody list the store's import jobs and look at each. HealthImaging has no other action on them.

        Args:
            grantee: who may.
        """
        return self._grant_what_has(self.grant_manage_import_jobs.__name__, grantee)

    def grant(self, grantee: iam.IGrantable, *actions: str) -> iam.Grant:
        """Let somebody do exactly what is listed, each action on the resources that it takes.

        An action that this release does not know is granted on the store and all its image sets, with the rights on the
        key that reading and writing take, and synth warns of it: AWS may have added it since, or it may be misspelt.

        Args:
            grantee: who may.
            actions: IAM actions, for example ``medical-imaging:GetImageFrame``. No wildcards.

        Raises:
            ValueError: there is no action, or one is not of HealthImaging, has a wildcard, or takes no data store.
        """
        violations = Violations("Datastore.grant")
        violations.require_kinds({"grantee": GRANTEE, "actions": list_of(TEXT)}, locals())
        if not actions:
            violations.add("actions must name at least one action, for example medical-imaging:GetImageFrame")
        for action in actions:
            violations.add(*action_violations(action))
        self._check_accounts(violations, grantee)
        violations.raise_any()
        for action in actions:
            if not Token.is_unresolved(action) and not is_known(action):
                Annotations.of(cast("IConstruct", self)).add_warning_v2(
                    "healthimaging-cdk:unknownAction",
                    f"{action} was not known when this library was released: it is granted on the data store and all "
                    "its image sets; correct it, or acknowledge this warning if AWS has added the action",
                )
        return self._grant_actions(grantee, actions)

    def _grant_what_has(
        self, method: str, grantee: iam.IGrantable, data_access_role: iam.IRole | None = None
    ) -> iam.Grant:
        violations = Violations(f"Datastore.{method}")
        violations.require_kinds({"grantee": GRANTEE}, locals())
        self._check_accounts(violations, grantee, data_access_role)
        violations.raise_any()
        return self._grant_actions(grantee, actions_granted_by(method))

    def _check_accounts(
        self, violations: Violations, grantee: iam.IGrantable, data_access_role: iam.IRole | None = None
    ) -> None:
        here = cast("Resource", self).env
        # Not every principal has the attribute.
        account: str | None = getattr(grantee.grant_principal, "principal_account", None)
        if account is not None and known_to_differ(account, here.account):
            violations.add(
                f"grantee is of account {account} and the data store of {here.account}: HealthImaging lets nobody of "
                f"another account in, let them assume a role of account {here.account}"
            )
        advice = "use a role of the data store's account"
        violations.check_place("data_access_role", data_access_role, here, user="the data store", account=advice)

    def _grant_actions(self, grantee: iam.IGrantable, actions: Sequence[str]) -> iam.Grant:
        arn = self.datastore_arn
        grant = reduce(
            iam.Grant.combine,
            [
                iam.Grant.add_to_principal(grantee=grantee, actions=taking, resource_arns=resources)
                for image_sets, resources in ((False, [arn]), (True, [arn, f"{arn}/imageset/*"]))
                if (taking := [action for action in dict.fromkeys(actions) if takes_image_sets(action) == image_sets])
            ],
        )
        if self.encryption_key is None or not grant.success:
            return grant
        return grant.combine(grant_on_key(grantee, self.encryption_key, key_rights(*actions)))


__all__ = ["DatastoreGrants"]
