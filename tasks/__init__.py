"""Units of work: Prefect's retries, cache keys and secrets around plain calls into `rasterloom.access`. Wiring only."""

import os

# Prefect looks at this once, when it is imported, and sends usage events unless it is set. Who wants them sets DO_NOT_TRACK=0.
os.environ.setdefault("DO_NOT_TRACK", "1")
