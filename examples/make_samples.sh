#!/usr/bin/env bash
# Makes the pictures of the README from a model (the embedded one by default):
#
#     examples/make_samples.sh [MODEL] [FOLDER]
set -euo pipefail
model=${1:-hvg-mini}
folder=${2:-$(dirname "$0")/samples}
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

hvg generate --model "$model" --quiet --overwrite --frames 48 --grid -o "$folder/hvg-mini.gif" \
    --class clouds,driving,fire,fireworks,ocean,skydiving,surfing,underwater,waterfall --seed 1
hvg generate --model "$model" --quiet --overwrite --frames 48 --sheet -o "$work/" --class all --seed 1,2 >/dev/null
cp "$work"/*sheet.png "$folder/hvg-mini.png"
