#!/usr/bin/env bash
# Trains the tiny RetinaNet by SED for 5,000 steps and compares the memory of the process at the end with that after warm-up.
#
#   scripts/soak.sh [STEPS]
#
# Prints the medians of the resident memory over the fourth and the last tenth of the run, in MiB, and fails if it grew by more
# than 2 %. Before the fourth tenth lies the burn-in, whose steps need less.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
steps=${1:-5000}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo build --release --locked --example retinanet_coco
target/release/examples/retinanet_coco --method sed --iterations "$steps" --run-dir "$folder/run" >/dev/null 2>"$folder/log" &
process=$!
while kill -0 "$process" 2>/dev/null; do
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$process/status" 2>/dev/null >>"$folder/memory" || true
    sleep 1
done
wait "$process" || { tail -n 3 "$folder/log"; exit 1; }
awk '
    { kib[NR] = $1 }
    function median(from, to,   count, i, j, value, sorted) {
        count = 0
        for (i = from; i <= to; i++) {
            value = kib[i]
            for (j = count; j > 0 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
            sorted[j + 1] = value
            count++
        }
        return sorted[int((count + 1) / 2)]
    }
    END {
        early = median(int(3 * NR / 10) + 1, int(4 * NR / 10)); late = median(NR - int(NR / 10), NR)
        printf "%d samples; after burn-in %.1f MiB, at the end %.1f MiB, ratio %.4f\n", NR, early / 1024, late / 1024, late / early
        exit late > 1.02 * early
    }' "$folder/memory"
