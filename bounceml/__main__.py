"""`python -m bounceml` is `bounceml`."""

import sys

from bounceml.cli import main

sys.exit(main())
