"""Entry point of ``python -m pipeline.consent``."""

import sys

from pipeline.consent.options import main

sys.exit(main())
