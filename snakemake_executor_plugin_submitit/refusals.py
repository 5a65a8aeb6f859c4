"""Slurm's reasons for not taking a job, and for not starting one: which pass, which never do, and what helps."""

import re

from .cluster import Refusal, Refused

# Patterns of Slurm's words, and what the user can do about each.
_FIXES = {
    r"invalid partition|no partition|use this partition": "resource slurm_partition: `sinfo` lists the partitions",
    r"invalid account": "resource slurm_account: `sacctmgr show associations user=$USER` lists yours",
    r"invalid qos|qos.*not permitted": "resource qos: `sacctmgr show qos` lists them",
    r"invalid feature|constraint": "resource constraint: `sinfo -o '%P %f'` lists the features of the nodes",
    r"invalid generic resource|\bgres\b|\bgpus?\b": "resources gpus, gres: `sinfo -o '%P %G'` lists what nodes have",
    r"time limit": "resource runtime (minutes): `sinfo -o '%P %l'` lists the limits",
    r"memory": "resource mem_mb: `sinfo -o '%P %m'` lists what nodes have",
    r"node count|more processors|(node|partition) configuration|too many (tasks|nodes)": (
        "resources nodes, tasks, threads, mem_mb, gpus: `sinfo -o '%P %D %c %m %G'` lists what nodes have"
    ),
    r"reservation": "resource reservation: `scontrol show reservation` lists them",
    r"node.*(name|list)": "resource exclude or slurm_extra: `sinfo -N` lists the nodes",
}
_NOW = re.compile(
    r"unable to contact|unable to connect|connection (refused|timed out|reset)|connect failure|communication connection"
    r"|timed out|temporarily (un)?(able|available)|resource temporarily|queue full|zero bytes|transport endpoint"
    r"|standby mode|controller not responding|rate limit|try again|retry|required partition not available",
    re.IGNORECASE,
)
# Slurm says these of the request itself. All other words are about the way to Slurm, or Slurm itself, and may pass.
_FOREVER = re.compile(
    r"\binvalid\b|not (permitted|allowed|available|supported|valid|authorized|granted|found|satisf)|denied|violates"
    r"|exceed|unrecognized|unknown option|requires an argument|ambiguous|can(not| ?not|'t) be satisfied|unsupported"
    r"|more processors|too many|does not exist|no such|no partition|use this partition|mutually exclusive|required"
    r"|must (be|specify|have|not)|unable to (open|parse)|specification|incompatible|conflict|illegal"
    r"|too long|not specified|dependency problem|batch script|configuration source|\bbad\b",
    re.IGNORECASE,
)
# These words are about the way to Slurm, though the list above has some of them.
_OF_THE_WAY = re.compile(
    r"authenticat|credential|munge|socket|protocol|communicat|message (send|receive)|unexpected message|connection"
    r"|I/O error|slurmdbd|no such file",
    re.IGNORECASE,
)
# GrpSubmit: the account's or QOS's limit, which other users' jobs count against too.
_SO_MANY = re.compile(r"MaxSubmit|GrpSubmit|MaxJobCount|job submit limit reached", re.IGNORECASE)
_POLICY = re.compile(r"accounting/QOS policy", re.IGNORECASE)
_NAMED_LIMIT = re.compile(r"\b(Assoc|QOS)[A-Z]\w+")

# Only another submission, or an administrator, can help a pending job with one of these reasons.
_HOPELESS = re.compile(
    r"^(PartitionTimeLimit|PartitionNodeLimit|PartitionConfig|BadConstraints|InvalidAccount|InvalidQOS"
    r"|AccountNotAllowed|QOSNotAllowed|QOSTimeLimit|DependencyNeverSatisfied|AssociationTimeLimit"
    r"|JobHoldMaxRequeue|FedJobLock|TooManyTasks|.*Per(Job|Node)(Limit)?|QOSMin\w+|MaxMemPerLimit"
    r"|(launch|user.env.retrieval).failed.requeued.held)$"
)
_HOPELESS_HELP = {
    "PartitionTimeLimit": "resource runtime is beyond the partition's limit",
    "PartitionNodeLimit": "resource nodes is beyond the partition's limit",
    "PartitionConfig": "a resource is beyond the partition's limit",
    "BadConstraints": "resource constraint asks for what no node has",
    "InvalidAccount": "resource slurm_account names none of yours",
    "InvalidQOS": "resource qos names none of yours",
    "launch failed requeued held": "a node could not launch it; the log of that node's slurmd says why",
}
# A pending job with one of these reasons starts by itself some time; patterns, and what it waits for.
_WAITS = {
    r"None|": None,
    r"Resources|Priority": "free nodes",
    r"BeginTime": "the moment at which Slurm may begin it (BeginTime)",
    r"(Assoc|QOS|Max|Job).*(Limit|Per\w+|Minutes)|(Assoc|QOS)\w+": "a limit of its account or QOS ({})",
    r"ReqNodeNotAvail.*|NodeDown|.*(DOWN|DRAINED).*": "nodes that are down or reserved ({})",
    r"Partition(Down|Inactive)": "its partition ({})",
    r"Dependency": "another job (Dependency)",
    r"Licenses": "licenses (Licenses)",
}
_HELD = {
    *("JobHeldUser", "JobHeldAdmin", "job requeued in held state"),
    *("PartitionDown", "PartitionInactive", "ReservationDeleted"),
}


def refusal(words: str, policy_may_pass: bool) -> Refusal:
    """Read what sbatch said.

    Args:
        words: Its standard error.
        policy_may_pass: What to make of "violates accounting/QOS policy" without a limit's name: with other jobs in the
            queue it may be their number, alone it is this job's size.
    """
    said = "; ".join(
        dict.fromkeys(
            re.sub(r"^\w+: ((error|fatal): )?", "", line).strip() for line in words.splitlines() if line.strip()
        )
    )
    if _NOW.search(said):
        return Refusal(Refused.NOW, said)
    if _SO_MANY.search(said):
        return Refusal(Refused.SO_MANY, said)
    if _POLICY.search(said):
        if policy_may_pass and not _NAMED_LIMIT.search(said):
            return Refusal(Refused.SO_MANY, said)
        return _forever(said, "a limit of your account or QOS: `sacctmgr show qos` lists them")
    if _OF_THE_WAY.search(said) or not _FOREVER.search(said):
        return Refusal(Refused.NOW, said or "sbatch failed without a word", doubtful=True)
    fix = next((fix for pattern, fix in _FIXES.items() if re.search(pattern, said, re.IGNORECASE)), "")
    return _forever(said, fix)


def _forever(said: str, fix: str) -> Refusal:
    return Refusal(Refused.FOREVER, f"Slurm refuses the job: {said}" + (f" ({fix})" if fix else ""))


def unconfigured(words: str) -> bool:
    """Whether Slurm's commands know of no cluster at all: waiting would not tell them of one."""
    return "DNS SRV lookup failed" in words


def hopeless(reason: str) -> str | None:
    """Why a pending job with this reason will never start; None if it may."""
    if not _HOPELESS.match(reason):
        return None
    fix = _HOPELESS_HELP.get(
        reason, "no resource of this job may be more, or less, than partition, account and QOS allow"
    )
    return f"Slurm will never start it: {reason} ({fix})"


def waits_for(reason: str) -> str | None:
    """What a pending job with this reason waits for, in words; None where there is nothing to say yet."""
    for pattern, words in _WAITS.items():
        if re.fullmatch(pattern, reason):
            return words and words.format(reason.replace("_", " "))
    return f"something else ({reason})"


def held(reason: str) -> bool:
    """Whether a pending job waits for somebody to act, which the user may want to hear of."""
    return reason in _HELD
