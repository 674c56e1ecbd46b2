# phangorn's side of the benchmark of split networks: `Rscript mycorrhiza_peer.R DISTANCES.csv` prints seconds and the fit in %.
suppressMessages(library(phangorn))
d <- as.matrix(read.csv(commandArgs(TRUE)[1], header = FALSE))
dimnames(d) <- list(seq_len(nrow(d)), seq_len(nrow(d)))
seconds <- system.time(net <- neighborNet(as.dist(d)))[["elapsed"]]
splits <- as.splits(net)
sides <- as.matrix(splits)
labels <- attr(splits, "labels")
fitted <- matrix(0, nrow(d), nrow(d))
for (i in seq_len(nrow(sides))) {
    side <- sides[i, ] > 0
    fitted <- fitted + attr(splits, "weights")[i] * outer(side, side, "!=")
}
fitted <- fitted[order(as.integer(labels)), order(as.integer(labels))]
cat(sprintf('{"seconds": %.4f, "fit": %.9f}\n', seconds, 100 * (1 - sum((fitted - d)^2) / sum(d^2))))
