"""Meaning of gcloud's failures: whether another try can help, and what a user can do about each kind.

Only the text tells them apart: gcloud ends with status 1 for all. The first kind whose pattern is found counts.
"""

import re
from dataclasses import dataclass

LONGEST_TEXT = 2000  # characters of gcloud's own words in a message
# google.rpc.Code, as a failed request has it
CODES = {
    3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 13: "INTERNAL", 14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of failure: its name, how its text is recognised, and what helps, with {zone} and {name} to fill in."""

    name: str
    pattern: str
    advice: str


KINDS = (
    Kind(
        "component",
        r"do not currently have this command group|gcloud components install",
        "This option needs gcloud's alpha commands. Run: gcloud components install alpha",
    ),
    Kind(
        "usage",
        r"unrecognized arguments?|invalid choice",
        "This gcloud does not know an option that aura gives it. Run: gcloud components update",
    ),
    Kind(
        "capacity",
        r"no (more )?(available )?capacity|(insufficient|not enough|lack of|out of|no available) (\w+ )?"
        r"(capacity|resources)|stockout|RESOURCE_POOL_EXHAUSTED|"
        r"resources? (are|is) (currently |temporarily )?unavailable",
        "Google has no such machines free in {zone} now: no quota changes that. Try again later, another zone, a "
        "smaller accelerator, or the other of --spot and --on-demand; a reservation (--reserved) is served first.",
    ),
    Kind(
        "transient",
        r"max retries exceeded|failure in name resolution|could not (be )?resolved?|connection (reset|aborted|refused)|"
        r"network is unreachable|timed?[ -]?out\b|broken pipe|remote end closed|\bUNAVAILABLE\b|DEADLINE_EXCEEDED|"
        r"\bINTERNAL\b|\bABORTED\b|internal (server )?error|bad gateway|service unavailable|backend error|"
        r"http(error)?:? 5\d\d\b|\b(429|too many requests)\b|rateLimitExceeded|per minute|"
        r"SSLError|EOF occurred|gcloud crashed",
        "Google's service did not answer well just now. Run the same command again in some minutes; "
        "status.cloud.google.com says whether it is down.",
    ),
    Kind(
        "login",
        r"auth login|reauthenticat|invalid_grant|active account|UNAUTHENTICATED|default credentials|token .*expired",
        "Run: gcloud auth login",
    ),
    Kind(
        "expired",
        r"valid.?until|(request|time|duration|interval)\b.*\bexpired|expired\b.*\b(request|interval)",
        "The request waited as long as it was allowed to. Allow more (--valid-until-duration, or leave it out), or try "
        "another zone than {zone} or a smaller accelerator.",
    ),
    Kind(
        "quota",
        r"quota|RESOURCE_EXHAUSTED",
        "Ask for more quota at console.cloud.google.com/iam-admin/quotas, take a smaller accelerator or another zone "
        "than {zone}; `aura tpu delete` frees what a pod of yours still holds.",
    ),
    Kind(
        "service",
        r"has not been used in project|SERVICE_DISABLED|API .*(disabled|not enabled)",
        "Switch the API on, then try again in some minutes: gcloud services enable tpu.googleapis.com",
    ),
    Kind("billing", r"billing", "Link a billing account to the project: console.cloud.google.com/billing"),
    Kind(
        "taken",
        r"ALREADY_EXISTS|already exists",
        "The name {name} is taken in {zone}. Take another (NAME, --name), or delete what has it: "
        "gcloud compute tpus tpu-vm delete {name} --zone={zone}",
    ),
    Kind(
        "project",
        r"\bproject (property|id)\b|project \S+ (was )?not found|project .*(must be set|is invalid)|"
        r"attribute \[project\]",
        "Say which project: PROJECT, --project, or gcloud config set project NAME",
    ),
    Kind(
        "permission",
        r"PERMISSION_DENIED|permission '|' permission|not have (the )?permission|permission denied on|forbidden|"
        r"not authorized",
        "Your account may not do this. Ask for the role roles/tpu.admin in the project, and "
        "roles/iam.serviceAccountUser for the workers' service account (for --tunnel-through-iap also "
        "roles/iap.tunnelResourceAccessor); "
        "`gcloud auth list` says which account you use.",
    ),
    Kind(
        "argument",
        r"INVALID_ARGUMENT|NOT_FOUND|not found|invalid value|argument --|OUT_OF_RANGE",
        "The request is not one that {zone} can serve: no waiting helps. Check the accelerator (gcloud compute tpus "
        "accelerator-types list --zone={zone}), the runtime version, the network and its subnetwork, the service "
        "account and the reservation.",
    ),
)
UNKNOWN = Kind("unknown", "", "Check the arguments, then run the same command again.")
# Kinds for which no other try of a connection helps, nor another pod.
FINAL = ("component", "usage", "login", "service", "billing", "project", "permission")


def kind(text: str) -> Kind:
    """Return the kind of failure that a text of gcloud's, or of a failed request, tells of."""
    return next((each for each in KINDS if re.search(each.pattern, text, re.IGNORECASE)), UNKNOWN)


def advice(text: str, zone: str, name: str = "NAME") -> str:
    """Say what a user can do about it."""
    return kind(text).advice.format(zone=zone, name=name)


def whole(text: str) -> str:
    """gcloud's own words: from its first line that begins with ERROR on, or all if there is none."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if line.startswith("ERROR")), 0)
    return "\n".join(lines[first:])[:LONGEST_TEXT] or "no message"


def of_status(status: object) -> str | None:
    """A google.rpc.Status as text, `RESOURCE_EXHAUSTED: no more capacity`; None if it says nothing."""
    if not isinstance(status, dict):
        return None
    code, message = status.get("code"), str(status.get("message") or "").strip()
    name = CODES.get(code, f"code {code}") if isinstance(code, int) else None
    return ": ".join(part for part in (name, message) if part)[:LONGEST_TEXT] or None
