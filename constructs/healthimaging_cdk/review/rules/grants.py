"""Rules about what roles may do with HealthImaging."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from healthimaging_cdk._common.iam_actions import known_actions, requires_image_sets, takes_no_datastore
from healthimaging_cdk.review.facts import SERVICE, is_meant
from healthimaging_cdk.review.finding import Hit, Rule, Severity, Subject
from healthimaging_cdk.review.reading.policies import Principal
from healthimaging_cdk.review.reading.statements import PolicyKind, Statement
from healthimaging_cdk.review.reading.template import normalized
from healthimaging_cdk.review.reading.text import Text
from healthimaging_cdk.review.rules.resources import Shape, any_store, shapes

_ACTIONS = {action.lower(): action for action in known_actions()}
_DELETES = tuple(name for name in _ACTIONS if name.partition(":")[2].startswith("delete"))
_SHARED = {
    "tagresource",
    "untagresource",
    "listtagsforresource",
    "createdatastore",
    "deletedatastore",
    "listdatastores",
}
_WITHOUT_DATA = {"getdatastore", *_SHARED}


def _matched(pattern: str) -> list[str]:
    """HealthImaging's actions that a pattern stands for."""
    return [name for name in _ACTIONS if fnmatchcase(name, pattern.lower())]


def _identities(subject: Subject) -> Iterator[Statement]:
    return (item for item in subject.policies.statements if item.kind is PolicyKind.IDENTITY)


def _broad_actions(subject: Subject) -> Iterator[Hit]:
    for statement in _identities(subject):
        if not statement.allows:
            continue
        broad = [
            pattern
            for pattern in statement.actions
            if "*" in pattern
            and (pattern.lower().startswith("medical") or _is_about_images(statement))
            and set(_matched(pattern)) & set(_DELETES)
        ]
        if statement.not_actions and _is_about_images(statement):
            broad += [f"NotAction {', '.join(statement.not_actions)}"] if any(map(statement.may, _DELETES)) else []
        if broad:
            text = f"{', '.join(broad)} allows to delete image sets or data stores"
            yield Hit(statement.template, statement.logical_id, statement.path, text)


def _is_about_images(statement: Statement) -> bool:
    names = (*statement.not_actions, *(str(text) for text in (*statement.resources, *statement.not_resources)))
    return any(f"{SERVICE}:" in name.lower() for name in names)


def _unknown_actions(subject: Subject) -> Iterator[Hit]:
    for statement in subject.policies.statements:
        for action in (*statement.actions, *statement.not_actions):
            service, colon, name = action.partition(":")
            if not colon:
                is_ours = normalized(action).startswith("medicalimaging") or f"{SERVICE}:{action.lower()}" in _ACTIONS
                if is_ours:
                    text = f"{action} is no action: between {SERVICE} and the name of an action stands a colon"
                    yield Hit(statement.template, statement.logical_id, f"{statement.path}/Action", text)
                continue
            if service.lower() == SERVICE:
                if not _matched(action):
                    text = f"HealthImaging has no action {action}"
                    yield Hit(statement.template, statement.logical_id, f"{statement.path}/Action", text)
                continue
            own = f"{SERVICE}:{name.lower()}"
            is_ours = is_meant(service) or (own in _ACTIONS and name.lower() not in _SHARED)
            if is_ours and not fnmatchcase(SERVICE, service.lower()):
                text = f"{action} is no action: the prefix of HealthImaging's is {SERVICE}"
                yield Hit(statement.template, statement.logical_id, f"{statement.path}/Action", text)


def _incomplete_resources(subject: Subject) -> Iterator[Hit]:
    ids = {
        text
        for store in subject.uses.stores
        if store.is_native
        for text in store.reader.texts({"Ref": store.logical_id})
    }
    for principal in subject.policies.principals.values():
        yield from _lacking([item for item in principal.statements if item.allows], ids)
    # A policy that no role of the templates has: then it stands for itself.
    attached = {id(item) for principal in subject.policies.principals.values() for item in principal.statements}
    alone: dict[tuple[str, str], list[Statement]] = {}
    for statement in _identities(subject):
        if id(statement) not in attached and statement.allows:
            alone.setdefault((statement.template.name, statement.logical_id), []).append(statement)
    for statements in alone.values():
        names_elsewhere = any(item.resource_type == "AWS::IAM::Policy" for item in statements)
        if not names_elsewhere:
            yield from _lacking(statements, ids)


def _lacking(allowing: list[Statement], ids: set[Text]) -> Iterator[Hit]:
    reported: set[int] = set()
    for statement in allowing:
        for pattern in statement.actions:
            names = [name for name in _matched(pattern) if pattern.lower().startswith(f"{SERVICE}:")]
            if not names or id(statement) in reported:
                continue
            problem = _problem(pattern, names, allowing, ids)
            if problem:
                reported.add(id(statement))
                text, fix = problem
                yield Hit(statement.template, statement.logical_id, f"{statement.path}/Resource", text, fix=fix)


def _problem(pattern: str, names: list[str], allowing: list[Statement], ids: set[Text]) -> tuple[str, str] | None:
    """What the resources lack of an action; nothing where one may have it."""
    actions = [_ACTIONS[name] for name in names]
    found = [item for item in allowing if any(item.may(name) for name in names)]
    for name in names:
        covering = [item for item in found if item.may(name)]
        if any(item.not_resources or not item.has_all_resources for item in covering):
            return None
    granted = shapes(text for item in found for text in item.resources if text not in ids)
    if granted.is_unknown:
        return None
    if all(takes_no_datastore(action) for action in actions):
        if granted.is_any or "*" in pattern:
            return None
        return f"{pattern} takes no data store: on one it allows nothing", 'allow it on resource "*"'
    if granted.is_any:
        return None
    needing = [action for action in actions if not takes_no_datastore(action)]
    both = [action for action in needing if requires_image_sets(action)]
    either = all(action.rpartition(":")[2].lower() in _SHARED - {"deletedatastore"} for action in needing)
    if not granted.stores and not granted.image_sets:
        return f"{pattern} is allowed on no data store: {_shown(found)}", "name the store's ARN"
    if either:
        return None
    orphans = [item for item in granted.image_sets if not _has(granted.stores, item)]
    if orphans or not granted.stores:
        return (
            f"{pattern} needs the data store's ARN, too: image sets alone allow nothing",
            "add the store's ARN beside that of its image sets",
        )
    if both and len(both) == len(needing):
        bare = [item for item in granted.stores if not _has(granted.image_sets, item)]
        if bare:
            return (
                f"{pattern} needs the ARN of the image sets, too: the data store's alone allows nothing",
                "add the store's ARN followed by /imageset/*",
            )
    return None


def _has(shapes_: list[Shape], wanted: Shape) -> bool:
    return any(item.may_be(wanted) for item in shapes_)


def _shown(statements: list[Statement]) -> str:
    return ", ".join(sorted({str(text) for item in statements for text in item.resources})) or "no resource"


def _any_store(subject: Subject) -> Iterator[Hit]:
    for statement in _identities(subject):
        if not statement.allows or statement.conditions or not statement.has_all_conditions:
            continue
        names = [
            pattern
            for pattern in statement.actions
            if pattern.lower().startswith(f"{SERVICE}:")
            and any(name.partition(":")[2] not in _WITHOUT_DATA for name in _matched(pattern))
        ]
        broad = [str(text) for text in statement.resources if any_store(text)]
        if names and broad:
            text = f"{', '.join(names)} on {', '.join(broad)}: the images of every data store of the account"
            yield Hit(statement.template, statement.logical_id, f"{statement.path}/Resource", text)


def _starts_jobs(principal: Principal) -> bool:
    return bool(principal.allowing(f"{SERVICE}:startdicomimportjob"))


def _passes(subject: Subject) -> Iterator[tuple[Principal | None, Statement]]:
    """The statements by which roles are passed to HealthImaging, with who passes."""
    seen: set[int] = set()
    for principal in subject.policies.principals.values():
        for statement in principal.statements:
            if statement.allows and statement.may("iam:passrole") and id(statement) not in seen:
                seen.add(id(statement))
                if _passes_for_images(subject, principal, statement):
                    yield principal, statement
    for statement in _identities(subject):
        if statement.allows and statement.may("iam:passrole") and id(statement) not in seen:
            beside = [
                item
                for item in subject.policies.statements
                if item.template is statement.template and item.logical_id == statement.logical_id
            ]
            alone = Principal(statement.template, statement.logical_id, "", beside, [], is_complete=False)
            if _passes_for_images(subject, alone, statement):
                yield None, statement


def _passes_for_images(subject: Subject, principal: Principal, statement: Statement) -> bool:
    named = any(pattern.lower().startswith("iam:") for pattern in statement.actions)
    starts = any(
        item.allows and item.may(f"{SERVICE}:startdicomimportjob") and any("imaging" in name for name in item.actions)
        for item in principal.statements
    )
    to_images = any("imaging" in str(value) for item in statement.conditions for value in item.values)
    passed = [subject.policies.role_of(text) for text in statement.resources]
    trusted = any(
        role is not None and any(item.is_for_service("medical-imaging.amazonaws.com") for item in role.trust)
        for role in passed
    )
    others = [
        str(value)
        for item in statement.conditions
        if item.key.lower() == "iam:passedtoservice"
        for value in item.values
    ]
    if others and not any("imaging" in name or "*" in name or "$" in name for name in others):
        return False  # for another service
    return named and (to_images or trusted or starts)


def _pass_role(subject: Subject) -> Iterator[Hit]:
    for _, statement in _passes(subject):
        broad = [str(text) for text in statement.resources if _is_any_role(str(text))]
        if statement.not_resources:
            broad.append(f"all but {', '.join(map(str, statement.not_resources))}")
        services = [item for item in statement.conditions if item.key.lower() == "iam:passedtoservice"]
        positive = [
            item
            for item in services
            if item.plain_operator in {"stringequals", "stringlike", "stringequalsignorecase"}
            and not any(value.literal is not None and "*" in value.literal for value in item.values)
        ]
        problems = [f"any role can be passed ({', '.join(broad)})"] if broad else []
        if not positive and statement.has_all_conditions:
            problems.append("the role can be passed to any service")
        if problems:
            yield Hit(statement.template, statement.logical_id, statement.path, " and ".join(problems))


def _is_any_role(text: str) -> bool:
    return text == "*" or text.endswith((":role/*", ":*")) or (text.startswith("arn:") and text.endswith(":role*"))


def _wrong_role(subject: Subject) -> Iterator[Hit]:
    for _, statement in _passes(subject):
        services = {
            value.literal or ""
            for item in statement.conditions
            if item.key.lower() == "iam:passedtoservice"
            for value in item.values
        }
        roles = [role for text in statement.resources if (role := subject.policies.role_of(text)) is not None]
        wrong = [role for role in roles if not _may_be_assumed(role)]
        is_for_images_only = bool(services) and all("imaging" in name for name in services)
        if wrong and (is_for_images_only or (len(wrong) == len(roles) == len(statement.resources))):
            names = ", ".join(role.logical_id for role in wrong)
            text = f"HealthImaging cannot assume {names}, so that no import can use it"
            yield Hit(statement.template, statement.logical_id, f"{statement.path}/Resource", text)
    for use in subject.uses.imports:
        role = subject.policies.role_of(use.role) if use.role is not None else None
        if role is not None and not _may_be_assumed(role):
            text = f"HealthImaging cannot assume {role.logical_id}, the data access role of this import"
            yield Hit(use.template, use.logical_id, "Properties", text)


def _may_be_assumed(role: Principal) -> bool:
    """Whether its trust names HealthImaging, or cannot be read."""
    if not role.trust:
        return True
    for statement in role.trust:
        for kind, name in statement.principals:
            if "imaging" in str(name) or kind == "*" or (kind == "Service" and name.is_open):
                return True
        if not statement.principals:
            return True
    return False


RULES = (
    Rule(
        "HI301",
        Severity.WARNING,
        "Nobody may delete images by a wildcard",
        "list the actions that are needed",
        _broad_actions,
    ),
    Rule(
        "HI302",
        Severity.ERROR,
        "The actions of HealthImaging that policies name exist",
        "spell the action as in the service authorization reference",
        _unknown_actions,
    ),
    Rule(
        "HI303",
        Severity.ERROR,
        "An action on image sets is allowed on the store and on its image sets",
        "name both ARNs: the store's, and the store's followed by /imageset/*",
        _incomplete_resources,
    ),
    Rule(
        "HI304",
        Severity.WARNING,
        "Images are allowed for stores that are named",
        "name the store's ARN",
        _any_store,
    ),
    Rule(
        "HI305",
        Severity.ERROR,
        "One role is passed, to HealthImaging alone",
        "name the data access role, and add StringEquals iam:PassedToService medical-imaging.amazonaws.com",
        _pass_role,
    ),
    Rule(
        "HI307",
        Severity.ERROR,
        "The role that is passed can be assumed by HealthImaging",
        "pass a role whose trust names medical-imaging.amazonaws.com",
        _wrong_role,
    ),
)
