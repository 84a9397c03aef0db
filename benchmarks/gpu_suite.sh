#!/usr/bin/env bash
# One command on a CUDA machine: build, check every op on every backend, probe the roofline, time
# every family and the decode loop. Rows are flushed one by one, so a cut at any moment keeps them.
#
#   benchmarks/gpu_suite.sh [--machine NAME] [--budget-s 1500] [--families vq lora ...] [--smoke]
#
# PYTHON names the interpreter; torch, triton, nvcc, cmake, ninja, pybind11 and scikit-build-core
# must be there, nothing is downloaded. FASTBRAIN_SKIP_BUILD=1 uses what is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
if [ -z "${FASTBRAIN_SKIP_BUILD:-}" ]; then
  arch=$("$PYTHON" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
  "$PYTHON" -m pip install -q --no-build-isolation --no-deps -e . \
    -C "cmake.define.CMAKE_CUDA_ARCHITECTURES=$arch"
fi
exec "$PYTHON" benchmarks/gpu_suite.py "$@"
