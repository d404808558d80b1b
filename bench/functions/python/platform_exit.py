"""How a serverless platform ends a function: once the answer is out, the process is frozen or
killed. The interpreter never gets to free what it holds, object by object."""

import os
import sys


def run(main):
    """Runs the function, then ends the process; an exception ends it as usual."""
    main()
    sys.stdout.flush()
    os._exit(0)
