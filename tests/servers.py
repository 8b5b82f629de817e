"""Real servers for tests, from Debian's packages: PostgreSQL and SLURM on loopback, in a temporary folder."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WAIT = 40.0  # seconds for a server on a busy machine


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(true: Callable[[], bool], what: str, limit: float = WAIT) -> None:
    """Wait for something.

    Raises:
        TimeoutError: it did not come.
    """
    deadline = time.monotonic() + limit
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {limit:g} s")
        time.sleep(0.05)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of its own; yields its address for SQLAlchemy."""
    places = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [os.path.dirname(shutil.which("initdb") or "")]
    if not places[-1]:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    programs, home, port = Path(places[-1]), folder / "postgresql", free_port()
    home.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        user = next((name for name in ("postgres", "nobody") if _known(name)), None)
        if user is None or shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL refuses root, and there is no other user to be")
        entry = pwd.getpwnam(user)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        for above in [*folder.parents, folder]:
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)
        as_user = ["setpriv", "--reuid", user, "--regid", str(entry.pw_gid), "--clear-groups"]
    command = [*as_user, str(programs / "initdb"), "-D", str(home / "data"), "-U", "mudra", "-A", "trust"]
    made = subprocess.run([*command, "--no-sync"], capture_output=True, text=True, check=False, cwd="/")
    assert made.returncode == 0, made.stderr
    settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={home}", "fsync=off"]
    options = [word for pair in settings for word in ("-c", pair)]
    with (folder / "postgresql.log").open("w") as log:
        server = subprocess.Popen(
            [*as_user, str(programs / "postgres"), "-D", str(home / "data"), *options],
            stdout=log, stderr=log, cwd="/",
        )  # fmt: skip
    try:
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        until(lambda: subprocess.run(ready, check=False, cwd="/").returncode == 0, "PostgreSQL")
        yield f"postgresql+psycopg://mudra@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown
        server.wait(WAIT)


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of one machine and two processors; yields the environment that its commands need."""
    missing = [
        name for name in ("munged", "mungekey", "slurmctld", "slurmd", "sbatch") if _program(name) is None
    ]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemon starts jobs as root alone")
    home = folder / "slurm"
    home.mkdir()
    home.chmod(0o755)
    conf = home / "slurm.conf"
    conf.write_text(_slurm_conf(home, free_port(), free_port()))
    subprocess.run([str(_program("mungekey")), "-c", "-k", str(home / "munge.key")], check=True)
    daemons: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "SLURM_CONF": str(conf)}

    def start(*words: str) -> None:
        with (home / f"{words[0]}.out").open("w") as log:
            path = str(_program(words[0]))
            daemons.append(subprocess.Popen([path, *words[1:]], stdout=log, stderr=log, env=environment))

    def answers() -> bool:
        told = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True, check=False
        )
        return told.stdout.split()[:1] == ["idle"]

    try:
        start("munged", "--foreground", "--force", f"--key-file={home}/munge.key", f"--socket={home}/munge.socket",
              f"--pid-file={home}/munged.pid", f"--log-file={home}/munged.log", f"--seed-file={home}/munge.seed",
              "--num-threads=2")  # fmt: skip
        until((home / "munge.socket").exists, "munged")
        start("slurmctld", "-D", "-c", "-f", str(conf))
        start("slurmd", "-D", "-N", "here", "-f", str(conf))
        until(answers, f"SLURM ({home})")
        yield environment
    finally:
        subprocess.run(["scancel", "--state=RUNNING", "-u", "root"], env=environment, check=False)
        subprocess.run(["scancel", "-u", "root"], env=environment, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _slurm_conf(home: Path, control: int, node: int) -> str:
    return f"""
ClusterName=mudra
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
MinJobAge=300
InactiveLimit=0
SlurmdParameters=config_overrides
NodeName=here NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=here Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 MaxTime=INFINITE
PartitionName=high Nodes=here PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
