"""``continuum doctor``: what is installed, what runs where, and what stands in the way."""

from __future__ import annotations

import json
from collections import Counter

from server.cli.output import write
from server.cli.shell import AsJson, Config, load_settings


def doctor(config: Config = None, as_json: AsJson = False) -> int:
    """Check this installation and its settings.

    Only STUN, TURN and other services that the settings name are contacted. Exit status 0: it can
    serve. 1: something fails. 2: the settings cannot be read.
    """
    from server.cli.checks.checklist import CHECKS  # imports what serves
    from server.cli.checks.finding import State, findings

    settings, counts, rows = load_settings(config), Counter[State](), []
    for finding in findings(CHECKS, settings):
        counts[finding.state] += 1
        rows.append(finding.describe())
        if not as_json:
            write(finding.line())
    if as_json:
        write(json.dumps(rows, ensure_ascii=False))
    else:
        write(f"{counts[State.FAIL]} failures, {counts[State.NOTE]} notes")
    return 1 if counts[State.FAIL] else 0
