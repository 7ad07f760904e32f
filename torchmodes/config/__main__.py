"""``python -m torchmodes.config > config/schema.json``: the JSON schema, for editors."""

from __future__ import annotations

import json
import sys

from torchmodes.config import config_schema

sys.stdout.write(json.dumps(config_schema(), indent=2) + "\n")
