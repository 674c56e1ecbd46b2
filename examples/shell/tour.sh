#!/bin/sh
# A round trip through 60 towns, made shorter by 2-opt, from a random tour or from "always to the nearest town".
# The towns depend on the seed alone, so both starts of a seed get the same ones. Any program can be raced that
# takes a seed and prints lines like {"step": 3, "length": 7.1}.
#   tour.sh SEED random|nearest STEPS
exec awk -v seed="$1" -v start="$2" -v steps="$3" '
function distance(a, b) { return sqrt((x[a] - x[b]) ^ 2 + (y[a] - y[b]) ^ 2) }
function tour_length(  i, sum) {
    for (i = 0; i < n; i++) sum += distance(tour[i], tour[(i + 1) % n])
    return sum
}
function shuffle(  i, j, t) {
    for (i = n - 1; i > 0; i--) { j = int(rand() * (i + 1)); t = tour[i]; tour[i] = tour[j]; tour[j] = t }
}
function nearest(  i, j, best, t) {
    for (i = 1; i < n; i++) {
        best = i
        for (j = i + 1; j < n; j++) if (distance(tour[i - 1], tour[j]) < distance(tour[i - 1], tour[best])) best = j
        t = tour[i]; tour[i] = tour[best]; tour[best] = t
    }
}
# Every exchange of two edges that shortens the tour, once around.
function improve(  i, j, a, b, c, d, t) {
    for (i = 0; i < n - 1; i++) for (j = i + 2; j < n; j++) {
        a = tour[i]; b = tour[i + 1]; c = tour[j]; d = tour[(j + 1) % n]
        if (d == a || distance(a, c) + distance(b, d) >= distance(a, b) + distance(c, d) - 1e-12) continue
        for (a = i + 1; a < i + 1 + j - a; a++) { b = i + 1 + j - a; t = tour[a]; tour[a] = tour[b]; tour[b] = t }
    }
}
BEGIN {
    n = 60; srand(seed)
    for (i = 0; i < n; i++) { x[i] = rand(); y[i] = rand(); tour[i] = i }
    if (start == "nearest") nearest(); else shuffle()
    for (step = 0; step <= steps; step++) {
        if (step > 0) improve()
        printf "{\"step\": %d, \"length\": %.6f}\n", step, tour_length(); fflush()
    }
}'
