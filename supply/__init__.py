"""Where the installed packages come from: which files exactly, with which known faults, and a bill of them all."""
