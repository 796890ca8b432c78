#!/usr/bin/env bash
# Builds the main example for CUDA and packs it with what it needs at run time, so that it can be
# run on a machine with a GPU that has no Rust:
#
#   scripts/gpu_pack.sh                      # writes sed-cuda.tar.xz
#   tar xf sed-cuda.tar.xz && ./sed-cuda/run.sh [arguments of retinanet_coco]   # over there
#
# Needs: what Burn's `cuda` feature needs to build, python3 with pip, xz.
set -euo pipefail
cd "$(dirname "$0")/.."

export CUDARC_CUDA_VERSION="${CUDARC_CUDA_VERSION:-13000}"
cargo build --release --no-default-features --features cuda --example retinanet_coco

target="${CARGO_TARGET_DIR:-target}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/sed-cuda/nvvm/libdevice"
strip -o "$work/sed-cuda/retinanet_coco" "$target/release/examples/retinanet_coco"

# Kernels with exp or log are linked against NVIDIA's device library at run time.
python3 -m pip download --quiet --no-deps -d "$work" nvidia-nvvm==13.0.88
python3 - "$work" <<'PY'
import sys, zipfile
from pathlib import Path

work = Path(sys.argv[1])
wheel = zipfile.ZipFile(next(work.glob("nvidia_nvvm-*.whl")))
name = next(n for n in wheel.namelist() if n.endswith("libdevice.10.bc"))
(work / "sed-cuda/nvvm/libdevice/libdevice.10.bc").write_bytes(wheel.read(name))
PY

cat > "$work/sed-cuda/run.sh" <<'SH'
#!/usr/bin/env bash
here="$(cd "$(dirname "$0")" && pwd)"
CUDA_PATH="$here" exec "$here/retinanet_coco" --device cuda "$@"
SH
chmod +x "$work/sed-cuda/run.sh"
tar -C "$work" -cJf sed-cuda.tar.xz sed-cuda
ls -l sed-cuda.tar.xz
