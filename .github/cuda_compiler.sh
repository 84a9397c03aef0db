#!/usr/bin/env bash
# The CUDA compiler and the static runtime in an image of manylinux (AlmaLinux 8): nothing else of CUDA.
set -euo pipefail
case "$(uname -m)" in
  x86_64) arch=x86_64 ;;
  aarch64) arch=sbsa ;;
esac
version=13-0
dnf install -y 'dnf-command(config-manager)'
dnf config-manager --add-repo \
  "https://developer.download.nvidia.com/compute/cuda/repos/rhel8/$arch/cuda-rhel8.repo"
dnf install -y "cuda-nvcc-$version" "cuda-cudart-devel-$version"
ln -sfn "/usr/local/cuda-${version/-/.}" /usr/local/cuda
