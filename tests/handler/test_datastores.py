"""Data stores that CloudFormation cannot express: gone only when they are, and emptied only if that can be finished."""

from __future__ import annotations

import pytest
from botocore.stub import Stubber

from healthimaging_import import datastores
from healthimaging_import.aws import Clients
from healthimaging_import.problems import Refused

ID = "0" * 32


@pytest.mark.parametrize(("status", "gone"), [("ACTIVE", False), ("DELETING", False), ("DELETED", True)])
def test_a_store_is_gone_when_it_is_neither_going_nor_there(clients: Clients, status: str, *, gone: bool) -> None:
    properties = {"datastoreId": ID, "datastoreName": "store", "datastoreStatus": status}
    with Stubber(clients.healthimaging) as stubber:
        stubber.add_response("get_datastore", {"datastoreProperties": properties}, {"datastoreId": ID})
        assert gone == datastores.is_gone(clients.healthimaging, ID)


def refuse_too_many(clients: Clients, image_sets: int, seconds: float) -> None:
    found = {"imageSetsMetadataSummaries": [{"imageSetId": f"{number:032}"} for number in range(image_sets)]}
    with Stubber(clients.healthimaging) as stubber:
        stubber.add_response("search_image_sets", found, {"datastoreId": ID})
        datastores.refuse_too_many(clients.healthimaging, ID, seconds)


def test_fails_before_anything_is_deleted_for_more_image_sets_than_one_in_ten_seconds(clients: Clients) -> None:
    refuse_too_many(clients, 6, 60)
    with pytest.raises(Refused, match="holds 7 image sets or more; 6 of them can be deleted while"):
        refuse_too_many(clients, 7, 60)
