#!/usr/bin/env bash
# Compares each operation that training uses on a device with a reference, values and gradients:
#
#   scripts/conformance.sh                 # flex
#   scripts/conformance.sh wgpu            # builds with the feature `wgpu`
#   scripts/conformance.sh cuda:0 stem     # the tests whose name has `stem`
#
# Prints each comparison with its largest error (relative to the tensor's largest entry), ends with status 0 if all
# agree, and names the operations that do not. A program of an earlier build is run with SUITE=path. With a software driver set
# CUBECL_AUTOTUNE_LEVEL=minimal, or choosing kernels takes hours.
set -euo pipefail
cd "$(dirname "$0")/.."

device="${1:-flex}"
shift || true
feature="${device%%:*}"
export BURN_DEVICE="$device"
# One operation at a time on a GPU: a failure then belongs to its name alone.
threads=1
case "$feature" in
    cpu | flex | ndarray) feature='' threads=2 ;;
esac

if [[ -n ${SUITE:-} ]]; then
    suite=("$SUITE")
else
    suite=(cargo test --release --test conformance ${feature:+--features "$feature"} --)
fi

log="$(mktemp)"
trap 'rm -f "$log"' EXIT
status=0
"${suite[@]}" --nocapture --test-threads "$threads" "$@" >"$log" 2>&1 || status=$?
if ! grep -q '^test result' "$log"; then
    cat "$log"
    exit "${status/#0/1}"
fi
# Why there is no device, once and not for each test.
grep -oE '(environment variable BURN_DEVICE: )?device `.*' "$log" | sort -u || true
# The largest errors first.
grep -o 'conformance [a-z].*: .*' "$log" | sed 's/^conformance //' | sort -t: -k2 -gr || true
grep -A 8 'of the largest entry:$' "$log" | grep -E '^(  |[a-z_0-9]+: )' || true
grep -E '^test result|^    [a-z_:0-9]+$' "$log" | sort -u
exit "$status"
