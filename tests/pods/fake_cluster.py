"""The part of a Kubernetes API that Snakemake's plugin speaks to, without a cluster behind it.

It keeps every job that is submitted. The container of one that `runs` accepts is run here by its
own command, in an empty folder, with this interpreter for its image; any other fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

JOBS = "/apis/batch/v1/namespaces/default/jobs"
Manifest = dict[str, Any]


class FakeCluster(ThreadingHTTPServer):
    """The server, the jobs it was sent by name, and how those ended that have ended."""

    def __init__(self, folder: Path, runs: Callable[[str], bool]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.runs = runs
        self.jobs: dict[str, Manifest] = {}
        self.ended: dict[str, str] = {}

    def command_of(self, name: str) -> str:
        """Return what a job's container runs."""
        return container(self.jobs[name])["args"][1]

    def submit(self, job: Manifest) -> None:
        """Take a job, and run it or let it fail."""
        name = job["metadata"]["name"]
        self.jobs[name] = job
        if self.runs(self.command_of(name)):
            threading.Thread(target=self._run, args=[name]).start()
        else:
            self.ended[name] = "failed"

    def _run(self, name: str) -> None:
        image, workdir = self.folder / "image", self.folder / name
        workdir.mkdir()
        with (self.folder / f"{name}.out").open("wb") as out:
            ran = subprocess.run(
                [*container(self.jobs[name])["command"], "-c", self.command_of(name)],
                cwd=workdir,
                env=os.environ | {"PATH": f"{image}:{os.environ['PATH']}"},
                stdout=out,
                stderr=out,
                timeout=600,
                check=False,
            )
        self.ended[name] = "failed" if ran.returncode else "succeeded"


class _Handler(BaseHTTPRequestHandler):
    server: FakeCluster

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == JOBS:
            self.server.submit(content)
        self._answer(content, 201)

    def do_GET(self) -> None:
        if self.path.startswith(JOBS):
            ended = self.server.ended.get(self.path.split("/")[-2])
            self._answer({"kind": "Job", "status": {ended: 1} if ended else {}})
        else:
            self._answer({"kind": "PodList", "items": []})

    def do_DELETE(self) -> None:
        self._answer({"kind": "Status", "status": "Success"})

    def _answer(self, content: Manifest, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep silent: the test's output is for faults."""


def container(job: Manifest) -> Manifest:
    """Return the one container of a job."""
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return found


@contextmanager
def fake_cluster(folder: Path, *, runs: Callable[[str], bool]) -> Iterator[FakeCluster]:
    """Serve the API; `folder` then holds ``kubeconfig``, by which a client finds it."""
    image = folder / "image"
    image.mkdir(parents=True)
    # The image has this environment; what the plugin installs at each start is in it already.
    for name, run in (("python", f'exec "{sys.executable}" "$@"'), ("pip", "exit 0")):
        (image / name).write_text(f"#!/bin/sh\n{run}\n")
        (image / name).chmod(0o755)
    with FakeCluster(folder, runs) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": address}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
            "current-context": "fake",
        }
        (folder / "kubeconfig").write_text(json.dumps(configuration))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
