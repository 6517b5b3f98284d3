"""`python -m diffphys` is the command `diffphys`."""

import sys

from diffphys.cli import main


sys.exit(main())
