#!/usr/bin/env bash
# Makes one environment per peer: setup.sh [FOLDER]. The folder is the argument, else the variable
# ATHENA_PEERS, else benchmarks/.peers. None of these packages is a dependency of Athena.
# One environment each, because their wishes clash: nautilus_trader 1.221 wants pandas 2.
# PYTHON chooses the interpreter (3.11 to 3.13: nautilus_trader 1.221 has no wheel for others).
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="${1:-${ATHENA_PEERS:-$here/../.peers}}"
python="${PYTHON:-python3}"

make() {
    local name="$1"
    shift
    if [ ! -x "$folder/$name/bin/python" ]; then
        "$python" -m venv "$folder/$name"
    fi
    "$folder/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    echo "$name: $folder/$name"
}

mkdir -p "$folder"
make bt 'bt==1.4.1'
make backtesting 'backtesting==0.6.6'
make backtrader 'backtrader==1.9.78.123' 'numpy>=2'
make nautilus 'nautilus_trader==1.221.0' 'pandas>=2.2,<3'
make trl 'trl==1.16.0' 'transformers==5.24.0' 'torch>=2.6,<2.14'
