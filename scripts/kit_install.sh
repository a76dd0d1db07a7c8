#!/bin/sh
# Installs rankbook without a network, beside a torch that is there already.
#
#   ./install.sh                   makes the environment ./rankbook-env
#   ./install.sh DIR               makes the environment DIR
#   ./install.sh --into PYTHON     installs into PYTHON's own environment
#
# PYTHON=/path/to/python3 chooses the Python that has torch; by default python3.
set -eu

kit=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
into=
case "${1:-}" in
    --into) into=yes; python=${2:?"--into needs a Python"} ;;
    -*) echo "usage: $0 [DIR | --into PYTHON]" >&2; exit 2 ;;
esac

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$version" != "@PYTHON@" ]; then
    echo "This kit is for Python @PYTHON@ and $python is $version: make one with KIT_PYTHON=$version make kit." >&2
    exit 1
fi
if ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
    echo "$python has no torch: set PYTHON to the one that has." >&2
    exit 1
fi

if [ -z "$into" ]; then
    env=${1:-rankbook-env}
    "$python" -m venv --without-pip --system-site-packages "$env"
    # "System" is the Python that an environment was made from. Where torch is in an environment
    # itself, the new one has to look there as well.
    "$python" - "$env" <<'END'
import glob, os, sys, sysconfig
[site] = glob.glob(os.path.join(sys.argv[1], "lib", "python3*", "site-packages"))
if sys.prefix != sys.base_prefix:
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    with open(os.path.join(site, "beside-torch.pth"), "w") as file:
        # Not the bare path: this follows the .pth files that lie there, too.
        file.writelines(f"import site; site.addsitedir({path!r})\n" for path in paths)
END
    python=$env/bin/python
fi

# pip runs from its own wheel: this Python need not have it.
set -- "$kit"/wheels/pip-*.whl
pip="$1/pip"
options="--quiet --disable-pip-version-check --no-index --no-cache-dir"
# What is there and will do, stays. rankbook itself is always the kit's.
"$python" "$pip" install $options --find-links "$kit/wheels" rankbook
"$python" "$pip" install $options --no-deps --force-reinstall "$kit"/wheels/rankbook-*.whl
"$python" -c 'import rankbook, torch; print(f"rankbook {rankbook.__version__} beside torch {torch.__version__}")'
echo "Next: $python -m rankbook.selftest"
