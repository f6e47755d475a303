"""The machine a benchmark runs on, in words.

What belongs here: what readers of a page must know to judge its figures. What does not: names that identify a machine.
"""

from __future__ import annotations

import os
from pathlib import Path


def machine_in_words() -> str:
    """Cores and memory of this machine, and whether it is a virtual one."""
    gibibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    words = f"{os.cpu_count()} cores and {gibibytes:.0f} GiB of memory"
    cpu_flags = Path("/proc/cpuinfo")
    is_virtual = cpu_flags.exists() and " hypervisor " in cpu_flags.read_text()
    return f"{words}, a virtual machine" if is_virtual else words
