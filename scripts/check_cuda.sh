#!/usr/bin/env bash
# Type-checks the CUDA build where a CUDA toolkit is found (nvcc on PATH or under CUDA_HOME), and says so where none is.
# It installs nothing and needs no GPU; CUDA_COMPUTE_CAP (default 80) says for which generation kernels are compiled.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${CUDA_HOME:-}" ] && [ -x "$CUDA_HOME/bin/nvcc" ]; then
    export PATH="$CUDA_HOME/bin:$PATH"
elif nvcc=$(command -v nvcc); then
    export CUDA_HOME="${CUDA_HOME:-$(dirname "$(dirname "$(readlink -f "$nvcc")")")}"
else
    echo "check_cuda: SKIPPED: no CUDA toolkit here (no nvcc on PATH, and CUDA_HOME is ${CUDA_HOME:-not set}); the CUDA build was not checked"
    exit 0
fi

export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
echo "check_cuda: $(nvcc --version | grep release), compute capability $CUDA_COMPUTE_CAP"
cargo check --all-targets --features cuda
echo "check_cuda: the kernels of candle were compiled and our code was type-checked; nothing was linked or run"
