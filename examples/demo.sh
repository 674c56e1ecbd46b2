#!/bin/sh
# What Sow does, on real images, in five minutes on two cores: `make demo`.
# First act: classic starts; a winning ticket of LeNet-300-100 on 10,000 images; that ticket beside its controls over five seeds;
# the ticket again from its passport. Second act: six classic starts and that ticket in one race, and its report.
set -eu
SOW=$(realpath "${SOW:-build/sow}")
plan=$(realpath "$(dirname "$0")/demo-race.json")
out=${DEMO:-$(dirname "$SOW")/demo}
started=$(date +%s)

say() { printf '\n\033[1m%s\033[0m\n' "$1"; }
[ -t 1 ] || say() { printf '\n%s\n' "$1"; }
show() { printf '$ sow'; printf ' %s' "$@"; printf '\n'; "$SOW" "$@"; }

rm -rf "$out"
mkdir -p "$out"
cd "$out"

say '1. Starts: the standard initialisations, as files that any framework reads'
show classic --arch lenet300 --scheme kaiming-uniform --seed 7 -o kaiming.safetensors -q
show classic --arch lenet300 --scheme orthogonal --seed 7 -o orthogonal.safetensors -q

say '2. A winning ticket: train on real images, prune the smallest weights, reset the others to their start; ten times'
show lottery-ticket find --arch lenet300 --data fashion-mnist --limit 10000 --val 2000 --steps 1500 --rounds 10 --seed 1 -o ticket

say '3. Is it the mask, its original values, or neither? Twenty trainings over five seeds, two at a time'
show lottery-ticket compare --ticket ticket --seeds 1:5

say '4. The ticket again, from its passport alone: bit for bit?'
show replay ticket/ticket.safetensors

say '5. Which start is best, and how sure are we? Six classic starts against the ticket over fresh seeds; losers are dropped'
cp "$plan" race.json
code=0
show prove race.json || code=$?
[ $code -eq 0 ] || [ $code -eq 3 ] || exit $code # 3: nothing was confirmed, which is a result too

say '6. The race as one page: curves, intervals, decisions'
show report race.json -o race.html

download=${SOW_DOWNLOAD_SECONDS:-0}
say "Done in $(($(date +%s) - started)) s (package downloads took $download s beside that)."
echo "The files are in $out, the report is $out/race.html; next: sow study lottery-ticket --scale small, or your own network: sow lottery-ticket find --help"
