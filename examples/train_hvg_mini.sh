#!/usr/bin/env bash
# Makes the embedded model from a folder of class folders of clips, level by level:
#
#     examples/train_hvg_mini.sh CLIPS [RUNS] [PRESET]
#
# CLIPS is the data folder (or set HVG_DATA), RUNS where the runs are kept (runs/ by default), PRESET hvg-mini or a
# file like it, as examples/hvg_mini_hour.json, which takes about an hour of a core instead of several. Every
# step can be stopped at any time; the same command goes on where it stopped.
set -euo pipefail
data=${1:-${HVG_DATA:?give a folder of class folders of clips, or set HVG_DATA}}
runs=${2:-runs}
preset=${3:-hvg-mini}

hvg train-level 1 --data "$data" --preset "$preset" --out "$runs/level1"
hvg train-level 2 --data "$data" --preset "$preset" --model "$runs/level1" --out "$runs/level2"
hvg train-level 3 --data "$data" --preset "$preset" --model "$runs/level2" --out "$runs/level3"

hvg generate --model "$runs/level3/model" --class all --seed 1-4 --grid -o "$runs/samples.mp4" --overwrite
