"""Accounting of a test cluster: MariaDB with tables of its own, and slurmdbd in front of it."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.slurm.configuration import socket_of_munge
from tests.slurm.daemon import Daemon, find, free_ports, is_listening

ACCOUNT = "lab"
# Where Debian's releases keep it.
SYSTEM_TABLES = [Path(f"/usr/share/{name}/mysql_system_tables.sql") for name in ("mysql", "mariadb")]


class Accounting:
    """The two daemons that `sacct`, `sacctmgr` and limits need."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.slurmdbd_port, self.database_port = free_ports(2)
        self._database = Daemon(self._database_command(), environment, folder)
        self._slurmdbd = Daemon(["slurmdbd", "-D"], environment, folder)

    @property
    def settings(self) -> dict[str, str | int]:
        """What slurm.conf says of it. Whoever submits needs an account, and its limits hold."""
        return {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": self.slurmdbd_port,
            # Without it clients look for munge's usual socket, and each call hangs for seconds.
            "AccountingStoragePass": str(socket_of_munge(self.folder)),
            "AccountingStorageTRES": "gres/gpu",
            "AccountingStorageEnforce": "associations,limits,qos",
        }

    def start(self) -> None:
        """Starts both; slurmdbd makes its tables, which takes seconds."""
        self._make_database()
        self._write_configuration()
        self._database.start()
        self._database.wait_until(lambda: is_listening(self.database_port))
        self._slurmdbd.start()
        self._slurmdbd.wait_until(lambda: is_listening(self.slurmdbd_port))

    def kill(self) -> None:
        """Ends both at once; nothing of theirs is kept."""
        self._slurmdbd.kill()
        self._database.kill()

    def _make_database(self) -> None:
        """Makes MariaDB's own tables: without them slurmdbd's procedures, which inherit limits, fail in silence."""
        (self.folder / "database").mkdir()
        tables = next(path for path in SYSTEM_TABLES if path.exists()).read_text()
        subprocess.run(
            [find("mariadbd") or "mariadbd", *self._database_options(), "--bootstrap"],
            input=f"create database mysql;\nuse mysql;\n{tables}",
            capture_output=True,
            text=True,
            check=True,
        )

    def _database_options(self) -> list[str]:
        return [
            "--no-defaults",
            f"--datadir={self.folder / 'database'}",
            f"--user={getpass.getuser()}",
            "--skip-grant-tables",
            "--innodb-buffer-pool-size=64M",
            "--innodb-lock-wait-timeout=900",
            # Nothing is kept, so nothing has to reach the disk.
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
        ]

    def _database_command(self) -> list[str]:
        # Without grant tables no user is needed; only this host reaches the port.
        return [
            "mariadbd",
            *self._database_options(),
            f"--socket={self.folder / 'mariadb.sock'}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            f"--port={self.database_port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
        ]

    def _write_configuration(self) -> None:
        path = self.folder / "slurmdbd.conf"
        # slurmdbd refuses a configuration that others can read.
        path.touch(mode=0o600)
        path.write_text(
            f"""\
AuthType=auth/munge
AuthInfo=socket={socket_of_munge(self.folder)}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self.slurmdbd_port}
SlurmUser={getpass.getuser()}
PidFile={self.folder / "slurmdbd.pid"}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.database_port}
StorageUser=root
StoragePass=unused
StorageLoc=slurm_acct
CommitDelay=0
"""
        )
