"""A SLURM cluster of two nodes on this machine: real daemons, their files in one folder.

Nodes of one machine share its cores and its host name; queue, allocation, steps and failures are
SLURM's own.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CONFIGURATION = Path("/etc/slurm")  # the plugin clears SLURM_CONF: nowhere else is found
FILES = ("slurm.conf", "gres.conf")
NAME = "torchmodes"
NODES = ("n1", "n2")
GPUS = 2

_SLURM_CONF = """\
ClusterName={name}
SlurmctldHost=localhost
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=0,defer_batch=0
ReturnToService=1
SlurmdTimeout=9
MinJobAge=600
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[16818-16819] CPUs=8 Sockets=1 \
CoresPerSocket=8 ThreadsPerCore=1 RealMemory=16000 Gres=gpu:{gpus}
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=60 State=UP
"""


class ClusterError(RuntimeError):
    """The cluster is not what it should be; the message ends with its daemons' logs."""


@dataclass
class Cluster:
    """A running cluster; a node has 8 cores, 16 GB and 2 GPUs that are none."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Start every daemon, and return when both nodes are idle."""
        socket = self.folder / "munge.socket"
        munge = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid")]
        seed = f"--seed-file={self.folder}/munge.seed"
        self._start("munged", "--foreground", "--force", f"--socket={socket}", seed, *munge)
        self.wait(socket.exists, "munged opens its socket", 10)
        self._start("slurmctld", "-D", "-c")
        for node in NODES:
            self._start("slurmd", "-D", "-N", node, name=node)
        self.wait(lambda: set(self.nodes().values()) == {"idle"}, "both nodes are idle", 40)

    def _start(self, *command: str, name: str | None = None) -> None:
        name = name or command[0]
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def stop(self) -> None:
        """End all jobs, then every daemon, the munge daemon last."""
        with suppress(subprocess.SubprocessError, ClusterError):  # whatever, the daemons end now
            _output("scancel", "--user", "root", timeout=10)
            self.wait(lambda: not self.jobs("RUNNING"), "all jobs have ended", 15)
        for name in reversed(list(self.daemons)):
            self.end(name)
        for process, _, _ in _job_processes():
            with suppress(psutil.NoSuchProcess):  # it ended with its parent
                process.kill()

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End one daemon."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(timeout=10)

    def nodes(self) -> dict[str, str]:
        """Return the state of each node, such as ``idle`` or ``down*``."""
        try:
            lines = _output("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        except subprocess.CalledProcessError:  # the controller does not answer yet
            return {}
        return dict(line.split() for line in lines)

    def jobs(self, state: str | None = None) -> list[dict[str, str]]:
        """Return what the controller knows of every job, or of those in one state."""
        jobs = [
            dict(re.findall(r"(\S+?)=(\S*)", line))
            for line in _output("scontrol", "--oneliner", "show", "job").splitlines()
            if line.startswith("JobId=")
        ]
        return [job for job in jobs if state in (None, job["JobState"])]

    def kill_node(self, node: str) -> None:
        """Let a node die as by a power cut: its daemon and all that its jobs run, at once."""
        self.end(node, signal.SIGKILL)  # first, so that it cannot tell of the jobs' end
        for process in self.processes_of(node):
            with suppress(psutil.NoSuchProcess):  # it ended with its parent
                process.kill()

    def processes_of(self, node: str) -> list[psutil.Process]:
        """Find the processes that work for the jobs of a node, SLURM's own among them."""
        jobs = {job["JobId"] for job in self.jobs("RUNNING") if job["NodeList"] == node}
        return [
            process
            for process, of_node, of_job in _job_processes()
            if of_node == node or of_job in jobs
        ]

    def wait(self, until: Callable[[], object], what: str, seconds: float) -> None:
        """Wait until something holds.

        Raises
        ------
        ClusterError
            It does not within that time.
        """
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                raise ClusterError(f"not within {seconds:.0f} s: {what}\n{self._logs()}")
            time.sleep(0.5)

    def _logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        )


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a cluster whose files lie in a folder; its configuration is linked to where it must be.

    Raises
    ------
    ClusterError
        A daemon does not start, or a node does not come up.
    """
    (folder / "state").mkdir(parents=True)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    for number in range(GPUS):
        os.mknod(folder / f"gpu{number}", 0o600 | 0o020000, os.makedev(1, 3))  # a second /dev/null
    (folder / "slurm.conf").write_text(_SLURM_CONF.format(name=NAME, folder=folder, gpus=GPUS))
    devices = f"{folder}/gpu[0-{GPUS - 1}]"
    (folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={devices}\n")
    CONFIGURATION.mkdir(exist_ok=True)
    links = [CONFIGURATION / name for name in FILES]
    cluster = Cluster(folder)
    try:
        for link in links:
            link.unlink(missing_ok=True)  # of a run whose files are gone
            link.symlink_to(folder / link.name)
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        for link in links:
            link.unlink(missing_ok=True)


def _job_processes() -> Iterator[tuple[psutil.Process, str | None, str | None]]:
    """List the processes that run for jobs of this cluster, with the node and the job of each."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended meanwhile
            step = re.match(r"slurmstepd: \[(\d+)\.", " ".join(process.cmdline()))
            environment = process.environ()
            if step or environment.get("SLURM_CLUSTER_NAME") == NAME:
                job = step[1] if step else environment.get("SLURM_JOB_ID")
                yield process, environment.get("SLURMD_NODENAME"), job


def _output(*command: str, timeout: float = 20) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=timeout
    ).stdout
