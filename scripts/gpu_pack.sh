#!/usr/bin/env bash
# Builds the training examples and the conformance suite for CUDA and packs them with what they need at run time, so
# that they can be run on a machine with a GPU that has no Rust:
#
#   scripts/gpu_pack.sh                      # writes sed-cuda.tar.xz, or the file named
#   tar xf sed-cuda.tar.xz && ./sed-cuda/run.sh              # over there: checks and a timed training
#   ./sed-cuda/sed.sh retinanet_coco [arguments]             # any of the programs
#
# Needs: what Burn's `cuda` feature needs to build, python3 with pip, xz. FEATURES names other features to build with.
set -euo pipefail
cd "$(dirname "$0")/.."

archive="${1:-sed-cuda.tar.xz}"
features="${FEATURES:-cuda}"
export CUDARC_CUDA_VERSION="${CUDARC_CUDA_VERSION:-13000}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
pack="$work/sed-cuda"
mkdir -p "$pack/nvvm/libdevice"

# flex is in too, as the reference of the suite.
build=(--release --features "$features")
cargo build "${build[@]}" --example retinanet_coco --example faster_rcnn_coco
suite="$(cargo test "${build[@]}" --no-run --test conformance --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)"
target="${CARGO_TARGET_DIR:-target}/release/examples"
for program in "$target/retinanet_coco" "$target/faster_rcnn_coco"; do
    strip -o "$pack/$(basename "$program")" "$program"
done
strip -o "$pack/conformance" "$suite"

# Kernels with exp or log are linked against NVIDIA's device library at run time.
python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$work" nvidia-nvvm==13.0.88
python3 - "$work" <<'PY'
import sys, zipfile
from pathlib import Path

work = Path(sys.argv[1])
wheel = zipfile.ZipFile(next(work.glob("nvidia_nvvm-*.whl")))
name = next(n for n in wheel.namelist() if n.endswith("libdevice.10.bc"))
(work / "sed-cuda/nvvm/libdevice/libdevice.10.bc").write_bytes(wheel.read(name))
PY

cp scripts/conformance.sh "$pack/conformance.sh"
cat >"$pack/sed.sh" <<'SH'
#!/usr/bin/env bash
# sed.sh PROGRAM [arguments]: one of the programs, on DEVICE (cuda).
here="$(cd "$(dirname "$0")" && pwd)"
program="$1"
shift
CUDA_PATH="$here" exec "$here/$program" --device "${DEVICE:-cuda}" "$@"
SH
cat >"$pack/run.sh" <<'SH'
#!/usr/bin/env bash
# run.sh [FOLDER]: a few steps, the conformance suite, and timed training by SED, on DEVICE (cuda). Runs are kept in
# FOLDER (runs). Ends with a status other than 0 if a part failed.
here="$(cd "$(dirname "$0")" && pwd)"
runs="${1:-runs}"
export CUDA_PATH="$here" DEVICE="${DEVICE:-cuda}"
status=0

part() { # NAME, COMMAND...
    local name=$1 log="$runs/$1.log" start=$SECONDS
    shift
    if "$@" >"$log" 2>&1; then
        printf '== %s: done in %d s\n' "$name" "$((SECONDS - start))"
    else
        status=1
        printf '== %s: FAILED after %d s\n' "$name" "$((SECONDS - start))"
    fi
    tail -n "${lines:-12}" "$log"
}

mkdir -p "$runs"
# Without a driver this ends in one line, and nothing else can work either.
"$here/sed.sh" retinanet_coco --smoke --cache-dir "$runs/cache" --run-dir "$runs/smoke" >"$runs/smoke.log" 2>&1 ||
    { tail -n 1 "$runs/smoke.log"; exit 1; }
SUITE="$here/conformance" lines=200 part conformance "$here/conformance.sh" "$DEVICE"
train() { # NAME, PROGRAM, ARGUMENTS...
    local name=$1 program=$2
    shift 2
    part "$name" "$here/sed.sh" "$program" --method sed --cache-dir "$runs/cache" --run-dir "$runs/$name" "$@"
}
train tiny retinanet_coco --iterations 300
train two-stage faster_rcnn_coco --iterations 100
train resnet50 retinanet_coco --backbone resnet50 --image-size 512 --batch-labeled 4 --batch-unlabeled 4 --iterations 60
train resnet50-bf16 retinanet_coco --backbone resnet50 --image-size 512 --batch-labeled 4 --batch-unlabeled 4 --iterations 60 \
    --set train.precision=bf16
exit "$status"
SH
chmod +x "$pack"/*.sh
# The programs share most of their code, far apart: one window over all of them.
tar -C "$work" -c sed-cuda | xz -9 --lzma2=preset=9,dict=512MiB -T1 >"$archive"
ls -l "$archive"
