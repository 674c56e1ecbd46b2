#!/bin/sh
# What Sow does, on real images, in four minutes on two cores: `make demo`.
# Classic starts; a winning ticket of LeNet-300-100 on 10,000 images; that ticket beside its controls over five seeds; the ticket
# again from its passport.
set -eu
SOW=$(realpath "${SOW:-build/sow}")
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

download=${SOW_DOWNLOAD_SECONDS:-0}
say "Done in $(($(date +%s) - started)) s (package downloads took $download s beside that)."
echo "The files are in $out; next: sow study lottery-ticket --scale small, or your own network: sow lottery-ticket find --help"
