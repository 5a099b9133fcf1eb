# SPDX-License-Identifier: Apache-2.0
"""Makes the running interpreter able to build and load the package.

    prepare.py TREE MINIMUM [--run-only]

Prints the folder of Python.h. What is missing of cffi goes into TREE, beside
the package. If it cannot be done: exit status 1 and the reason with the remedy.
Called by CMake with TREE on PYTHONPATH.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig

CFFI = "cffi>=1.15,<3"


def has_cffi(run_only: bool) -> bool:
    """In another process: this one may remember that it was missing."""
    wanted = "import _cffi_backend" + ("" if run_only else ", cffi")
    return subprocess.run([sys.executable, "-c", wanted],
                          stderr=subprocess.DEVNULL).returncode == 0


def install_cffi(tree: str) -> str:
    """Empty, or why it did not work."""
    if importlib.util.find_spec("pip") is None:
        return "it has no pip"
    command = [sys.executable, "-m", "pip", "install", "--quiet",
               "--disable-pip-version-check", "--target", tree, CFFI]
    done = subprocess.run(command, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return ""
    return "pip said: " + (done.stderr.strip().splitlines() or ["?"])[-1]


def main() -> str:
    tree, minimum = sys.argv[1:3]
    run_only = "--run-only" in sys.argv
    name = f"{sys.executable} ({sys.version.split()[0]})"
    if sys.version_info < tuple(int(part) for part in minimum.split(".")):
        return f"{name} is older than Python {minimum}"
    include = sysconfig.get_path("include")
    if not run_only and not os.path.exists(os.path.join(include, "Python.h")):
        return (f"{name} has no Python.h in {include}; "
                "install python3-dev or set -DCASCADE_PYTHON=")
    if not has_cffi(run_only):
        reason = install_cffi(tree)
        if reason or not has_cffi(run_only):
            return (f"{name} has no cffi and it could not be installed "
                    f"({reason or 'it does not load'}); install python3-cffi "
                    "or set -DCASCADE_PYTHON=")
    print(include)
    return ""


if __name__ == "__main__":
    problem = main()
    if problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
