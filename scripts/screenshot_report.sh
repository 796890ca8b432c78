#!/usr/bin/env bash
# Opens a page of the project in Chromium and checks that it renders: no message in the console, and pictures of it, light,
# dark and narrow, that are not blank.
#
#   scripts/screenshot_report.sh RUN/report.html [FOLDER]
#
# The pictures and the printed page go to FOLDER, if it is given. Without Chromium nothing is checked: this is said, and the
# exit code is 0. CHROMIUM names another browser of its kind.
set -euo pipefail

page=$(realpath "${1:?usage: scripts/screenshot_report.sh PAGE.html [FOLDER]}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=${2:-$work}
mkdir -p "$folder"

browser=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    [[ -n $browser ]] || browser=$(command -v "$name" || true)
done
if [[ -z $browser ]]; then
    echo 'skipped: no Chromium is installed, so the page was not looked at'
    exit 0
fi

# A blank page of these sizes has at most 14 kB.
LEAST=40000

browse() { # OPTION...
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
        --enable-logging=stderr "$@" "file://$page" 2>"$work/log" >"$work/out" || {
        cat "$work/log"
        echo "$browser failed"
        return 1
    }
    if grep ':CONSOLE' "$work/log"; then
        echo "$page: the browser has something to say about it"
        return 1
    fi
}

look() { # NAME SIZE OPTION...
    local file=$folder/$1.png
    rm -f "$file"
    browse --window-size="$2" --screenshot="$file" "${@:3}"
    local size
    size=$(stat -c %s "$file")
    if ((size < LEAST)); then
        echo "$page: the $1 picture of $size bytes is blank"
        return 1
    fi
}

look light 1280,2400
look dark 1280,2400 --blink-settings=preferredColorScheme=0
look narrow 500,2400
if cmp -s "$folder/light.png" "$folder/dark.png"; then
    echo "$page: light and dark look the same"
    exit 1
fi
browse --print-to-pdf="$folder/print.pdf" --no-pdf-header-footer
[[ $(head -c 5 "$folder/print.pdf") == %PDF- ]] || { echo "$page: no printed page"; exit 1; }
echo "$page renders"
