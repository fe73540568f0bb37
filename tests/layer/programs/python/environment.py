"""The environment as Python shows it."""

import os
import sys

for name in sys.argv[1:]:
    print(name, ascii(os.environ.get(name)), os.environb.get(os.fsencode(name)))
