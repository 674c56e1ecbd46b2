# Races of irace over scores from a file: for bench/race_peers.py. usage: Rscript race_peers.R FILE RACES
# Eight fixed configurations, one iteration, the twenty seeds as instances in order; prints one JSON line.
options(warn = -1)
suppressMessages(library(irace))
arguments <- commandArgs(TRUE)
file <- file(arguments[1], "rb")
head <- readBin(file, "double", 3)
races <- min(head[1], as.integer(arguments[2])); arms <- head[2]; seeds <- head[3]
scores <- aperm(array(readBin(file, "double", head[1] * arms * seeds), c(seeds, arms, head[1])), c(3, 2, 1))
names <- paste0("a", seq_len(arms))
parameters <- readParameters(text = sprintf('arm "" c (%s)', paste(names, collapse = ",")))
cells <- lost <- other <- dropped <- 0
start <- sum(proc.time()[1:2])  # of the processor
for (race in seq_len(races)) {
  used <- matrix(FALSE, arms, seeds)
  runner <- function(experiment, scenario) {
    arm <- match(experiment$configuration[["arm"]], names)
    seed <- as.integer(experiment$id.instance)
    used[arm, seed] <<- TRUE
    list(cost = -scores[race, arm, seed])
  }
  scenario <- list(targetRunner = runner, instances = seq_len(seeds), sampleInstances = FALSE, elitist = FALSE,
    maxExperiments = arms * seeds, nbIterations = 1, nbConfigurations = arms, minNbSurvival = 1, deterministic = TRUE,
    initConfigurations = data.frame(arm = names), logFile = "", seed = race, quiet = TRUE, softRestart = FALSE)
  invisible(capture.output(found <- irace(scenario = scenario, parameters = parameters)))
  cells <- cells + sum(used)
  dropped <- dropped + any(rowSums(used) < max(rowSums(used)))
  lost <- lost + (sum(used[arms, ]) < max(rowSums(used)))  # the last arm is the best one
  other <- other + (found$arm[1] != names[arms])
}
seconds <- sum(proc.time()[1:2]) - start
cat(sprintf('{"races": %d, "cells": %.6g, "lost": %.6g, "other": %.6g, "dropped": %.6g, "seconds": %.6g}\n', races, cells / races,
            lost / races, other / races, dropped / races, seconds / races))
