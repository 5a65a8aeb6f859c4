"""A real Slurm cluster of virtual nodes on this machine, in a folder of its own, with faults to order.

Made for Slurm 22.05 and later as Debian builds it (several slurmd on one host). All nodes are this host: names such as
`n1` do not resolve, a job sees every core, and `SLURMD_NODENAME` says which node it is on.
"""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import psutil

from tests.slurm.accounting import ACCOUNT, Accounting
from tests.slurm.client import Client
from tests.slurm.configuration import cluster_name, socket_of_munge, write_configuration
from tests.slurm.daemon import Daemon, free_ports
from tests.slurm.processes import find_processes, has_variables, kill_all, works_in
from tests.waiting import wait_until


class Cluster(Client):
    """Starts with :meth:`start` (in a fraction of a second without accounting) and leaves nothing after :meth:`stop`.

    Partition `main` is the default; `spare` has the same nodes, and `main` preempts its jobs: they get SIGTERM and,
    `grace_seconds` later, go back to the queue.
    """

    def __init__(
        self,
        nodes: int = 4,
        *,
        cpus: int = 64,
        gpus: int = 8,
        accounting: bool = False,
        grace_seconds: int = 2,
        settings: Mapping[str, str | int] | None = None,
    ) -> None:
        """Describes a cluster.

        Args:
            nodes: How many; they are called n1, n2, ...
            cpus: CPUs of each, booked and not enforced.
            gpus: GPUs of each, links to /dev/null.
            accounting: With slurmdbd, so that sacct, sacctmgr and limits work, and an account is needed.
            grace_seconds: What a preempted job of `spare` is given.
            settings: Lines of slurm.conf that add to the usual ones or replace them, such as MaxArraySize.
        """
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self._shape = {"cpus": cpus, "gpus": gpus, "grace_seconds": grace_seconds}
        # Not pytest's folder: the path of a socket has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        super().__init__(self.folder / "slurm.conf")
        self._accounting = Accounting(self.folder, self.environment) if accounting else None
        self._settings = {**(self._accounting.settings if self._accounting else {}), **(settings or {})}
        self._munged = self._daemon("munged", *self._munged_options())
        self._slurmctld = self._daemon("slurmctld", "-D")
        self._slurmd = {name: self._daemon("slurmd", "-D", "-N", name, place=name) for name in self.nodes}

    def _daemon(self, *command: str, place: str = ".") -> Daemon:
        folder = self.folder / place
        folder.mkdir(exist_ok=True)
        return Daemon(command, self.environment, folder)

    def _munged_options(self) -> Iterable[str]:
        # --force: it would refuse a folder that others cannot enter.
        yield from ("--foreground", "--force", f"--socket={socket_of_munge(self.folder)}")
        for option, name in {"key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}.items():
            yield f"--{option}={self.folder / 'munge'}.{name}"

    def start(self) -> None:
        """Starts all daemons and waits until every node is idle."""
        controller_port, *ports = free_ports(1 + len(self.nodes))
        node_ports = dict(zip(self.nodes, ports, strict=True))
        write_configuration(
            self.folder,
            controller_port=controller_port,
            node_ports=node_ports,
            **self._shape,
            settings=self._settings,
        )
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        self._munged.start()
        self._munged.wait_until(socket_of_munge(self.folder).exists)
        if self._accounting:
            self._accounting.start()
        # A node that finds no controller tries again a second later.
        self.start_slurmctld()
        for slurmd in self._slurmd.values():
            slurmd.start()
        if self._accounting:
            self._add_account()
        self.wait_for_nodes()

    def _add_account(self) -> None:
        """Gives whoever runs this an account: limits are enforced, and without one nobody may submit."""
        self.run("sacctmgr", "--immediate", "add", "account", ACCOUNT)
        self.run("sacctmgr", "--immediate", "add", "user", getpass.getuser(), f"account={ACCOUNT}")

    def stop(self) -> None:
        """Ends every daemon and every process of a job, and removes the folder.

        Raises:
            AssertionError: A process that was given this cluster's environment is still running.
        """
        # Nothing is kept, so nothing needs to end well; without slurmd no step starts any more.
        for daemon in (*self._slurmd.values(), self._slurmctld, self._munged):
            daemon.kill()
        if self._accounting:
            self._accounting.kill()
        kill_all(self.job_processes)
        left = find_processes(partial(has_variables, SLURM_CONF=self.environment["SLURM_CONF"]))
        shutil.rmtree(self.folder)
        assert not left, left

    def told(self) -> str:
        """What Slurm says of jobs and nodes, and the ends of its logs: for whoever wonders why a test failed."""
        asked = (
            ("squeue", "--states=all", "--format=%i %T %r %S %N"),
            ("squeue", "--states=all", "--steps"),
            ("sinfo", "--Node", "--long"),
        )
        found = ["\n".join((" ".join(command), self.try_run(*command).stdout)) for command in asked]
        for log in sorted(self.folder.rglob("slurm*.log")):
            lines = log.read_text(errors="replace").splitlines()[-40:]
            found.append("\n".join((str(log.relative_to(self.folder)), *lines)))
        return "\n\n".join(found)

    def wait_for_nodes(self) -> None:
        """Waits until every node is idle."""

        def all_idle() -> bool:
            states = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split()
            return states == ["idle"] * len(self.nodes)

        wait_until(all_idle, "all nodes to be idle")

    def job_processes(self, node: str | None = None) -> list[psutil.Process]:
        """Step daemons and processes of jobs, of all nodes or one."""
        nodes = self.nodes if node is None else (node,)

        def is_of_job(process: psutil.Process) -> bool:
            return any(
                has_variables(process, SLURM_CLUSTER_NAME=cluster_name(self.folder), SLURMD_NODENAME=name)
                # A step daemon hides its environment, and keeps its slurmd's working directory.
                or works_in(process, self.folder / name)
                for name in nodes
            )

        daemons = {slurmd.pid for slurmd in self._slurmd.values()}
        return [process for process in find_processes(is_of_job) if process.pid not in daemons]

    def node_down(self, name: str) -> None:
        """Sets a node down as an administrator does; Slurm requeues its jobs, and may leave their processes alone."""
        self.run("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def node_up(self, name: str) -> None:
        """Brings a node back, whatever was done to it, and waits until it can run jobs."""
        if not self._slurmd[name].running:
            self._slurmd[name].start()
        # A node that has come back by itself has nothing to resume, which is an error to scontrol.
        self.try_run("scontrol", "update", f"nodename={name}", "state=resume")
        wait_until(lambda: self.node_state(name) in {"idle", "mixed", "allocated"}, f"node {name} to be up")

    def kill_slurmd(self, name: str) -> None:
        """Kills a node's slurmd; its jobs' processes go on, and Slurm finds the node down some seconds later."""
        self._slurmd[name].kill()

    def lose_node(self, name: str) -> None:
        """Loses a node with all that runs on it, as a crash does; Slurm finds it down some seconds later."""
        self.kill_slurmd(name)
        kill_all(partial(self.job_processes, name))

    def stop_slurmctld(self) -> None:
        """Ends the controller, which keeps its jobs for the next one; clients get no answer meanwhile."""
        self._slurmctld.terminate()

    def start_slurmctld(self) -> None:
        """Starts the controller again and waits until it answers."""
        self._slurmctld.start()
        self._slurmctld.wait_until(lambda: self.try_run("scontrol", "ping").returncode == 0)

    def restart_slurmctld(self) -> None:
        """Stops the controller and starts it again."""
        self.stop_slurmctld()
        self.start_slurmctld()

    def restore(self) -> None:
        """Undoes faults and ends jobs: all daemons run, no job is queued, every node is idle."""
        if not self._slurmctld.running:
            self.start_slurmctld()
        self.run("scancel", f"--user={getpass.getuser()}")
        kill_all(self.job_processes)
        for name in self.nodes:
            # Slurm may not have noticed yet that a daemon is gone.
            if self.node_state(name) != "idle" or not self._slurmd[name].running:
                self.node_up(name)
        wait_until(lambda: not self.run("squeue", "--noheader"), "the queue to be empty")
        self.wait_for_nodes()
