"""Configuration files of a cluster whose nodes are all on this machine: no systemd, no cgroups, no MPI."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from pathlib import Path

MEMORY_MB = 256_000

# Tests wait for these: scheduling at once, failures noticed within seconds.
PACE = {
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": (
        "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,"
        "default_queue_depth=10000,partition_job_depth=0"
    ),
    "EpilogMsgTime": 0,
    "CompleteWait": 0,
    "SlurmctldTimeout": 10,
    "SlurmdTimeout": 5,
    "MessageTimeout": 5,
    "InactiveLimit": 0,
    "KillWait": 2,
    "BatchStartTimeout": 10,
    "UnkillableStepTimeout": 10,
}
# Memory, CPUs and GPUs are booked and not enforced; a node has more of them than the machine.
PLUGINS = {
    "AuthType": "auth/munge",
    "CredType": "cred/munge",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "JobAcctGatherType": "jobacct_gather/none",
    "MpiDefault": "none",
    "SwitchType": "switch/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU_Memory",
    "SlurmdParameters": "config_overrides",
    "GresTypes": "gpu",
    "PropagateResourceLimits": "NONE",
}
POLICY = {
    "JobRequeue": 1,
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "MaxArraySize": 1001,
    # Ended jobs stay visible to squeue.
    "MinJobAge": 3600,
    # A node that was set down stays down, one whose slurmd died returns with it.
    "ReturnToService": 1,
}


def host() -> str:
    """This machine's name, which is the host name of every node."""
    return socket.gethostname().split(".")[0]


def cluster_name(folder: Path) -> str:
    """Name of the cluster in `folder`, in the environment of its jobs as SLURM_CLUSTER_NAME: no other has it."""
    return folder.name.replace("-", "_")


def socket_of_munge(folder: Path) -> Path:
    """The munge socket of the cluster in `folder`."""
    return folder / "munge.sock"


def write_configuration(
    folder: Path,
    *,
    controller_port: int,
    node_ports: Mapping[str, int],
    cpus: int,
    gpus: int,
    grace_seconds: int,
    settings: Mapping[str, str | int],
) -> None:
    """Writes slurm.conf, gres.conf and cgroup.conf into `folder`.

    Args:
        folder: The cluster's folder.
        controller_port: Port of slurmctld.
        node_ports: Port of each node's slurmd, by the node's name.
        cpus: CPUs a node.
        gpus: GPUs a node.
        grace_seconds: Seconds between the signal to a preempted job and its end.
        settings: More lines of slurm.conf, over those here.
    """
    me = getpass.getuser()
    places = {
        "ClusterName": cluster_name(folder),
        "SlurmctldHost": f"{host()}(127.0.0.1)",
        "SlurmctldPort": controller_port,
        "SlurmUser": me,
        "SlurmdUser": me,
        # A requeued job waits until the credential of its first run has expired: two minutes by default.
        "AuthInfo": f"socket={socket_of_munge(folder)},cred_expire=5",
        "StateSaveLocation": folder / "controller",
        "SlurmdSpoolDir": folder / "%n",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "%n" / "slurmd.pid",
    }
    lines = [f"{key}={value}" for key, value in {**places, **PLUGINS, **PACE, **POLICY, **settings}.items()]
    lines += [
        f"NodeName={name} NodeHostname={host()} NodeAddr=127.0.0.1 Port={port}"
        f" CPUs={cpus} RealMemory={MEMORY_MB} Gres=gpu:{gpus} State=UNKNOWN"
        for name, port in node_ports.items()
    ]
    lines += [
        "PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE DefMemPerCPU=100 State=UP",
        "PartitionName=main Default=YES PriorityTier=10 PreemptMode=OFF",
        f"PartitionName=spare PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_seconds}",
    ]
    (folder / "controller").mkdir()
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
    (folder / "gres.conf").write_text(gpu_devices(folder, list(node_ports), gpus))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")


def gpu_devices(folder: Path, nodes: list[str], gpus: int) -> str:
    """gres.conf, for GPUs that are links to /dev/null: Slurm asks for a character device each."""
    for index in range(gpus):
        os.symlink("/dev/null", folder / f"gpu{index}")
    return f"AutoDetect=off\nNodeName={','.join(nodes)} Name=gpu File={folder}/gpu[0-{gpus - 1}]\n"
