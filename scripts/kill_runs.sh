#!/usr/bin/env bash
# Kills a training at 200 moments, half of them while a checkpoint is written, resumes it each time, and compares what is left with an undisturbed
# run, to the bit.
#
#   scripts/kill_runs.sh [KILLS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release --locked --workspace --examples
SED_KILLS=${1:-200} cargo test --release --locked --workspace -p sed --test process -- --nocapture killed_at_any_moment
