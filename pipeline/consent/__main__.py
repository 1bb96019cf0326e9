"""Entry point of ``python -m pipeline.consent``."""

import sys

from pipeline.consent.command import main

sys.exit(main())
