"""Turns AWS's free text into words that can be shown: a message about a file can hold what is in the file."""

from __future__ import annotations

import re
from functools import cache

from healthimaging_import.service_model import ServiceModel

_GAP = "..."
_ACRONYMS = frozenset({"AWS", "DICOM", "DICM", "IAM", "JSON", "KMS", "P10", "S3", "SOP", "UID", "UIDs", "VR"})
_LIMIT = re.compile(r"(FILE|IMAGE|INSTANCE|SIZE|COUNTS?|IMPORT|JOB|QUOTA|_)+_(LIMIT|EXCEEDED|ERROR)")
_ARN = r"arn:aws[a-z-]*:{service}:[a-z0-9-]*:[0-9]*:[\w+=,.@/:*-]+"
_ACTION = r"[a-z0-9-]{1,40}:[A-Za-z*]{1,60}"
_POLICY = (
    "(identity-based|resource-based|session|service control|resource control|VPC endpoint|role trust) policy"
    "|permissions boundary"
)
_DENIED = re.compile(
    rf"User: {_ARN.format(service='(iam|sts)')} is not authorized to perform: (?P<action>{_ACTION})(?!\S)", re.ASCII
)
_RESOURCE = " on resource: "
_TOLD = re.compile(
    rf'{_RESOURCE}"?{_ARN.format(service="(medical-imaging|iam|states|kms|sns|events|cloudformation)")}"?(?!\S)'
    r"| on (this resource|the resource associated with this ciphertext)(?!\S)",
    re.ASCII,
)
_WHY = re.compile(
    rf" because no (?P<missing>{_POLICY}) allows the {_ACTION} action"
    rf"| with an explicit deny in (?P<article>an?|the) (?P<denying>{_POLICY})"
    r"((, with policy ARN)?: (?P<arn>arn:aws[a-z-]*:(iam|organizations)::([0-9]{12}|aws):policy/[\w+=,.@/-]*[\w+=@-])"
    r"(?=\.?(\s|\Z)))?"
    "| because the resource does not exist in this Region, no resource-based policies allow access, or "
    "a resource-based policy explicitly denies access",
    re.ASCII,
)
"""IAM's words for each kind of policy, and KMS's own:
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html."""
_END = re.compile(r"(: arn:\S+)?(\.?\Z|\. Go to https://)")
"""What may follow: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied-authorization-id.html."""
_LONGEST_DENIAL = 600
_MORE_WORDS = (
    "a an and are as at authorized be by can cannot could did does exceeds expected file files for format found from "
    "has have header in invalid is it its length longer malformed missing must no not of on or parse parsed perform "
    "preamble read required size than that the there this to too type unsupported valid value was were with"
)


@cache
def _vocabulary() -> frozenset[str]:
    """The words of the service model's own documentation: what AWS writes about the service, not about a file."""
    texts: list[str] = []
    for shape in ServiceModel.load().shapes.values():
        texts.append(shape.get("documentation", ""))
        texts += [member.get("documentation", "") for member in shape.get("members", {}).values()]
    words = re.findall(r"\b[a-z]{2,}\b", re.sub(r"<[^>]+>", " ", " ".join(texts)))
    return frozenset(words) | frozenset(_MORE_WORDS.split())


def redact(text: str, longest: int = 120) -> str:
    """Keep lower-case words of the service's vocabulary and its acronyms; all else becomes ``...``.

    Names stand in capitals or are unknown words, so neither a name nor a key nor a value comes through.
    """
    kept: list[str] = []
    for position, token in enumerate(text.split()):
        word = token.strip(".,:;()'\"")
        plain = word.lower() if position == 0 else word
        if plain in _vocabulary() or word in _ACRONYMS or _LIMIT.fullmatch(word):
            kept.append(word)
        elif not kept or kept[-1] != _GAP:
            kept.append(_GAP)
    return " ".join(kept)[:longest]


def read_denial(message: str) -> tuple[str, str]:
    """Return what IAM says of a denied call, and what can be done about it.

    IAM's own sentence is kept, with resources that can hold no object's name; of any other text the plain words. It
    names who, the action and often the kind of policy to look at, or that policy's ARN.
    """
    denied = _DENIED.match(message)
    if not denied:
        return redact(message), ""
    text, rest = denied[0], message[denied.end() :]
    told = _TOLD.match(rest)
    if told:
        text, rest = text + told[0], rest[told.end() :]
    is_hidden = not told and rest.startswith(_RESOURCE)
    reason, arn = _reason_after_hidden(rest) if is_hidden else _reason(rest)
    if is_hidden:
        text += _RESOURCE + _GAP
    if reason:
        text += _sentence(reason, denied["action"]) + (f": {arn}" if arn else "")
    elif rest.strip() and not is_hidden:
        text += f" {redact(rest)}"
    return text[:_LONGEST_DENIAL], _remedy(denied["action"], reason)


def _reason(text: str) -> tuple[re.Match[str] | None, str | None]:
    """Return the reason that a text begins with, and the ARN of the policy that it names."""
    reason = _WHY.match(text)
    return reason, reason["arn"] if reason else None


def _reason_after_hidden(text: str) -> tuple[re.Match[str] | None, str | None]:
    """Return the reason that follows a resource whose name may not be shown, and may read like a reason itself."""
    if text.startswith(f'{_RESOURCE}"'):
        # Whatever the name holds, it is over at the last quotation mark.
        return _reason(text.rpartition('"')[2])
    # Where the name is over is not known: of what ends the message, only words of ours are shown.
    ends = (reason for reason in reversed([*_WHY.finditer(text)]) if _END.match(text, reason.end()))
    return next(ends, None), None


def _sentence(reason: re.Match[str], action: str) -> str:
    if reason["missing"]:
        return f" because no {reason['missing']} allows the {action} action"
    if reason["denying"]:
        return f" with an explicit deny in {reason['article']} {reason['denying']}"
    return reason[0]


def _remedy(action: str, reason: re.Match[str] | None) -> str:
    denying = reason["denying"] if reason else None
    if action.startswith("kms:"):
        return (
            f"the role lacks {action} on the bucket's KMS key: pass the bucket with its encryption_key, so that the "
            "grants include it, and let the key's policy allow this account's roles"
        )
    if denying == "resource-based policy" and action == "s3:PutObject":
        return (
            "the bucket's policy denies the request, for example one that requires the header "
            "x-amz-server-side-encryption, which is not sent: rely on the bucket's default encryption and take the "
            "condition out of the policy; a bucket that an import created takes records from its own app only"
        )
    return ""
