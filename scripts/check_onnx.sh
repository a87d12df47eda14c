#!/usr/bin/env bash
# Exported files in the hands of others: the ONNX checker, ONNX Runtime and, where it is installed, Ultralytics.
#
#     scripts/check_onnx.sh [PYTHON]
#
# PYTHON has onnx, onnxruntime, numpy and pillow (and perhaps ultralytics); without it an environment is made for them
# under target/.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-target/onnx-peers/bin/python}
if [ ! -x "$python" ]; then
    log=target/onnx-peers.txt
    if ! { python3 -m venv target/onnx-peers && "$python" -m pip install --quiet onnx onnxruntime numpy pillow; } >"$log" 2>&1; then
        rm -rf target/onnx-peers
        echo "skipped: ONNX Runtime cannot be installed here: $(tail -n 1 "$log")"
        exit 0
    fi
fi
cargo build --quiet --release --locked
exec "$python" scripts/check_onnx.py "${CARGO_TARGET_DIR:-target}/release/espalier"
