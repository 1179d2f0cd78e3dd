#!/usr/bin/env bash
# Makes the embedded model from a folder of class folders of clips, level by level:
#
#     examples/train_hvg_mini.sh CLIPS [RUNS]
#
# CLIPS is the data folder (or set HVG_DATA), RUNS where the runs are kept (runs/ by default). Every
# step can be stopped at any time; the same command goes on where it stopped.
set -euo pipefail
data=${1:-${HVG_DATA:?give a folder of class folders of clips, or set HVG_DATA}}
runs=${2:-runs}

hvg train-level 1 --data "$data" --preset hvg-mini --out "$runs/level1"
hvg train-level 2 --data "$data" --preset hvg-mini --model "$runs/level1" --out "$runs/level2"
hvg train-level 3 --data "$data" --preset hvg-mini --model "$runs/level2" --out "$runs/level3"

hvg generate --model "$runs/level3/model" --class all --seed 1-4 --grid -o "$runs/samples.mp4" --overwrite
