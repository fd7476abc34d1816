"""``python -m dragoman``: the command, for where its script is not on PATH."""

import sys

from dragoman.cli import main

sys.exit(main())
