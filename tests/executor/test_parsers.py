"""Whatever Slurm's commands print and files hold, the executor's parsers understand it or pass it over."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.backend import Done
from snakemake_executor_plugin_submitit.cluster import Refused
from snakemake_executor_plugin_submitit.folder import parse_json, parse_state
from snakemake_executor_plugin_submitit.journal import Journal
from snakemake_executor_plugin_submitit.pilot.inbox import Job, parse_job
from snakemake_executor_plugin_submitit.pilot.session import Ending, Orders, Session
from snakemake_executor_plugin_submitit.refusals import hopeless, refusal, waits_for
from snakemake_executor_plugin_submitit.resource_rules import ResourceError
from snakemake_executor_plugin_submitit.resources import read_resources
from snakemake_executor_plugin_submitit.sbatch import parse_job_id
from snakemake_executor_plugin_submitit.squeue import (
    NoAnswer,
    among,
    parse_accounted,
    parse_largest_array,
    parse_queue,
    words,
)
from tests.executor.conftest import Works
from tests.executor.rubbish import rubbish

QUEUE = """\
7|0|RUNNING|None|n1|n1|one-1234
7|1|PENDING|ReqNodeNotAvail, UnavailableNodes:n1||n/a|one-1234
8|N/A|COMPLETED||n2|n2|x|y
"""


def test_squeue() -> None:
    for answer in rubbish(QUEUE):
        queue = parse_queue(answer)
        lines = [line for line in answer.split(b"\n") if line.strip()]
        assert len(queue.rows) + queue.unreadable == len(lines), answer
        for row in queue.rows:
            assert re.fullmatch(r"[0-9]{1,20}(_[0-9]{1,20})?", row.job_id), answer
            assert re.fullmatch(r"[A-Z_]+", row.state), answer
            assert not row.lacks_batch_host or (row.nodes and row.batch_host), answer


@pytest.mark.parametrize(
    ("nodes", "held", "others"),
    [
        ("n1", ["n1"], ["n", "n10", "n11", "1", ""]),
        ("n[1-3,8,10-12]", ["n1", "n3", "n8", "n10", "n12"], ["n4", "n9", "n01", "n13", "n[1-3,8,10-12]"]),
        ("frontier[00098-00102]", ["frontier00098", "frontier00102"], ["frontier98", "frontier00097", "frontier0100"]),
        ("login,r[1-2]n[7-9]-ib", ["login", "r1n7-ib", "r2n9-ib"], ["r3n7-ib", "r1n7", "r1n6-ib"]),
        ("", [], ["n1", ""]),
        ("n[", [], ["n1"]),
        ("n[1-", [], ["n1"]),
        ("n[a-b,1]", ["n1"], ["na"]),
    ],
)
def test_lists_of_nodes(nodes: str, held: list[str], others: list[str]) -> None:
    assert [one for one in held + others if among(one, nodes)] == held


def test_a_job_without_its_batch_host() -> None:
    rows = parse_queue(
        b"5|N/A|RUNNING|None|n2|n1|kept\n5|N/A|RUNNING|None|n[1-2]|n1|whole\n"
        b"5|N/A|PENDING|BeginTime||n/a|queued\n5|N/A|COMPLETING|None|n2|n1|ending\n"
        # Of no node at all sinfo would tell the states of every one.
        b"5|N/A|RUNNING|None|n2||unknown\n"
    ).rows
    assert [row.name for row in rows if row.lacks_batch_host] == ["kept"]


def test_a_name_that_is_no_text_hides_no_job() -> None:
    queue = parse_queue(b"9|N/A|RUNNING|None|n1|n1|caf\xe9\n7|0|RUNNING|None|n1|n1|one-1234\nnot a row\n")
    assert [row.job_id for row in queue.rows] == ["9", "7_0"]
    assert queue.unreadable == 1


def test_sacct() -> None:
    for answer in rubbish("7_0|CANCELLED by 1000\n7_1|COMPLETED\n8|NODE_FAIL\n"):
        for job_id, state in parse_accounted(answer).items():
            assert re.fullmatch(r"[0-9]+(_[0-9]+)?", job_id), answer
            assert re.fullmatch(r"[A-Z_]+", state), answer
    assert parse_accounted(b"7_0|CANCELLED by 1000\n8| \n\xff|FAILED\n9|FAILED") == {"7_0": "CANCELLED", "9": "FAILED"}


def test_scontrol() -> None:
    for answer in rubbish("Configuration data as of 2026\nMaxArraySize            = 1001\nMaxDBDMsgs = 20008\n"):
        with contextlib.suppress(NoAnswer):
            assert 1 <= parse_largest_array(answer) < 10**10
    with pytest.raises(NoAnswer, match="MaxArraySize = many"):
        parse_largest_array(b"a = b\nMaxArraySize = many\n")


def test_sbatch() -> None:
    for answer in rubbish("sbatch: a greeting of the site\nSubmitted batch job 1234\n"):
        with contextlib.suppress(ValueError):
            assert re.fullmatch(r"[0-9]{1,20}", parse_job_id(answer))
    with pytest.raises(ValueError, match="sbatch told of no job; it said 'no'"):
        parse_job_id(b"no")


def test_what_sbatch_says_of_a_refusal() -> None:
    for said in rubbish("sbatch: error: Batch job submission failed: Invalid qos specification", QUEUE):
        refused = refusal(words(said), policy_may_pass=True)
        assert str(refused)
        assert str(refused).isprintable()
        assert not (refused.doubtful and refused.kind is not Refused.NOW)


def test_reasons_of_waiting() -> None:
    for reason in rubbish("ReqNodeNotAvail, UnavailableNodes:n1", "AssocGrpCpuLimit", "{0}", "PartitionTimeLimit"):
        text = reason.decode(errors="replace")
        assert waits_for(text) is None or waits_for(text) != ""
        assert hopeless(text) is None or "never start" in str(hopeless(text))


def test_the_journal(tmp_path: Path, work: Works) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    works = [work("a"), work("b-b", attempt=3)]
    journal.works(works)
    journal.begin("tag-1", "slurm", works)
    journal.submitted("tag-1", ["7_0", "7_1"])
    journal.reported(works[:1])
    for content in rubbish(path.read_text(), number=3000):
        path.write_bytes(content)
        read = Journal(path)
        lines = [line for line in content.split(b"\n") if line.strip()]
        assert 0 <= read.unreadable <= len(lines)
        for key in read.open_keys():
            attempt = read.open_attempt(key)
            assert attempt is not None
            place = read.place(key, attempt)
            assert place is None or place.job_id is None or isinstance(place.job_id, str)
            assert read.next_attempt(key) > attempt


def test_a_journal_with_bytes_in_its_middle_is_told_and_the_rest_counts(tmp_path: Path, work: Works) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.works([work("a")])
    journal.works([work("b", attempt=1)])
    journal.begin("tag", "slurm", [work("b")])
    first, second, third = path.read_bytes().splitlines(keepends=True)
    # The line of b's attempt: what was begun tells of it too.
    path.write_bytes(first + b"\xff\xfe caf\xe9 \xe9" + second + b"\0" * 20 + b"\n" + third)
    again = Journal(path)
    assert again.unreadable == 2
    assert set(again.open_keys()) == {"a", "b"}
    assert again.next_attempt("b") == 2


def test_state_files() -> None:
    state = {"rc": 3, "host": "n1", "job_id": "7_0", "seconds": 1.5, "tail": "last words"}
    for content in rubbish(json.dumps(state)):
        if (read := parse_state(parse_json(content))) is not None:
            assert isinstance(Done(**read).rc, int)


def test_jobs_of_the_inbox(work: Works) -> None:
    from dataclasses import asdict

    for content in rubbish(json.dumps({"order": 1, "work": asdict(work("a"))})):
        if (read := parse_job(parse_json(content))) is not None:
            assert isinstance(read[0], int)
            assert isinstance(read[1].command, str)


def test_names_in_the_inbox(tmp_path: Path) -> None:
    session = Session(tmp_path / "session")
    session.make()
    for index, name in enumerate(rubbish("a-1.2.json", "a.1.withdrawn", number=200)):
        name = name.replace(b"/", b"").replace(b"\0", b"")[:100]
        if name.strip(b"."):
            (session.inbox.root / name.decode(errors="surrogateescape")).write_bytes(b"%d" % index)
    content = session.inbox.content()
    assert Job("a-1", 2) in content.jobs
    kinds = {"json": content.jobs, "withdrawn": content.withdrawn, "failed": content.failed}
    assert all((session.inbox.root / job.file(kind)).exists() for kind, jobs in kinds.items() for job in jobs)
    assert session.inbox.read([Job("a-1", 2)]) == []


def test_orders_owner_and_endings(tmp_path: Path) -> None:
    session = Session(tmp_path / "session")
    session.make()
    session.command(Orders(True, 4))
    session.end("pilot-s-1.life", Ending("drained", "no job is left"))
    orders, ending = session.root / "orders.json", session.root / "endings" / "pilot-s-1.life.json"
    for content in rubbish(orders.read_text(), ending.read_text(), '"pilot-s-1.life"', number=500):
        for path in (orders, ending, session.root / "owner.json"):
            path.write_bytes(content)
        assert isinstance(session.orders(), Orders)
        assert session.ending("pilot-s-1.life") is None or isinstance(session.ending("pilot-s-1.life"), Ending)
        assert session.owner() is None or isinstance(session.owner(), str)
        session.last_words("pilot-s-1")


def test_resources_in_a_line() -> None:
    for text in rubbish("nodes=2 slurm_extra='--a=b --c' runtime=2h mem=64GB", number=4000):
        with contextlib.suppress(ResourceError):
            assert isinstance(read_resources(text.decode(errors="surrogateescape")), dict)
