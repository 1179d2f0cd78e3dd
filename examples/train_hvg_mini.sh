#!/usr/bin/env bash
# Makes the embedded model from a folder of class folders of clips, level by level:
#
#     examples/train_hvg_mini.sh CLIPS [RUNS] [PRESET] [STANDING]
#
# CLIPS is the data folder (or set HVG_DATA), RUNS where the runs are kept (runs/ by default), PRESET hvg-mini or a
# file like it. STANDING are the steps of the last part of levels 2 and 3, with the statistics that samples are made
# with (500; 0 leaves it out). With examples/hvg_mini_hour.json and 0 it takes about an hour of a core, not many: an
# outline as good as that gives, and levels above that only enlarge.
# Every step can be stopped at any time; the same command goes on where it stopped.
set -euo pipefail
data=${1:-${HVG_DATA:?give a folder of class folders of clips, or set HVG_DATA}}
runs=${2:-runs}
preset=${3:-hvg-mini}
standing=${4:-500}

# train LEVEL BELOW: a level on the run of the one below, then its last part
train() {
    local options=(--data "$data" --preset "$preset" ${2:+--model "$2"})
    hvg train-level "$1" "${options[@]}" --out "$runs/level$1"
    [ "$1" = 1 ] || [ "$standing" = 0 ] ||
        hvg train-level "$1" "${options[@]}" --out "$(of "$1")" --from "$runs/level$1" --standing --steps "$standing"
}

# of LEVEL: the run of a level that is the last
of() {
    if [ "$1" = 1 ] || [ "$standing" = 0 ]; then echo "$runs/level$1"; else echo "$runs/level$1-standing"; fi
}

train 1 ""
train 2 "$(of 1)"
train 3 "$(of 2)"

hvg generate --model "$(of 3)/model" --class all --seed 1-4 --grid -o "$runs/samples.mp4" --overwrite
