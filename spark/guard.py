"""Run one command as a child process, and stop it when the owner process ends.

The owner holds the other end of standard input, which closes when the owner dies. A JVM does not detect that.
The script uses only the standard library.
"""

import os
import subprocess
import sys
import threading

_SECONDS_TO_END = 15.0


def main() -> None:
    """Run the command in the arguments and exit with its exit code."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_owner, args=(child,), daemon=True).start()
    code = child.wait()
    # A normal exit would wait for the thread that reads standard input.
    os._exit(code if code >= 0 else 128 - code)


def _end_with_owner(child: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    main()
