#!/usr/bin/env bash
# One command on a CUDA machine: build, check every op on every backend, time every family and the
# decode loop, within ten minutes. README.md beside this file says what comes out.
#
#   benchmarks/gpu_suite.sh [--machine NAME] [--budget-s 540] [--families vq lora ...] [--smoke]
#       [--only-selftest | --skip-selftest | --race] [--skip-build]
#
# PYTHON names the interpreter; torch, triton, nvcc, cmake, ninja, pybind11 and scikit-build-core
# must be there, nothing is downloaded. Rows go below ${OUT:-benchmarks/results}, one by one, so that
# a cut at any moment keeps them.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" benchmarks/gpu_suite.py "$@"
