"""Load TensorBoard logs with the loader of PyTorch's profiler plugin; print what it found, as JSON.

Runs in an environment of its own, which has the plugin and neither PyTorch nor torchmodes.
"""

import json
import sys
import tempfile
from pathlib import Path

from torch_tb_profiler import consts
from torch_tb_profiler.profiler.data import RunProfileData
from torch_tb_profiler.profiler.event_parser import ProfileRole
from torch_tb_profiler.profiler.run_generator import RunGenerator

found = {}
for run in sorted(Path(sys.argv[1]).iterdir()):
    (log,) = run.iterdir()
    worker, span = consts.WORKER_PATTERN.match(log.name).groups()
    with tempfile.TemporaryDirectory() as cache:
        data = RunProfileData.parse(worker, span, str(log), cache)
        profile = RunGenerator(worker, span, data).generate_run_profile()
    found[run.name] = {
        "views": [view.display_name for view in profile.views],
        "steps": len(data.steps_costs),
        "step_s": data.avg_costs.costs[ProfileRole.Total] / 1e6,
        "calls": {row["name"]: row["calls"] for row in profile.operation_table_by_name["data"]},
    }
print(json.dumps(found))
