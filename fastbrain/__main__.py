"""``python -m fastbrain`` is the command ``fastbrain``."""

import sys

from .cli import main

sys.exit(main())
