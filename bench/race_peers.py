"""The same 8 arms x 20 seeds raced by Sow, irace, Optuna's WilcoxonPruner and successive halving: what each spends, how
often it loses the best arm, how often it tells equal arms apart, and what it costs by itself. Prints a table.

usage: race_peers.py [--races 200] (Sow: ten times as many). Needs SOW and BENCH_PROGRAMS as bench/run.py does, and Rscript
with irace for its row. Scores are normal noise on what all arms of a seed share; "spread": each arm is .2 standard
deviations of a difference better than the one before."""
import argparse, json, os, resource, shutil, statistics, subprocess, sys, tempfile, time, warnings

import numpy as np

PROGRAMS = os.environ.get("BENCH_PROGRAMS", "build/bench")
SOW = os.environ.get("SOW", "build/sow")
HERE = os.path.dirname(os.path.abspath(__file__))
ARMS, SEEDS = 8, 20


def scores(races, spread, seed):
    rng = np.random.default_rng(seed)
    shared, noise = rng.normal(0, 3, (races, 1, SEEDS)), rng.normal(0, 1, (races, ARMS, SEEDS))
    return shared + noise + np.arange(ARMS)[None, :, None] * spread * 2**0.5


def through_a_file(command, values, folder, *arguments):
    path = os.path.join(folder, "scores.bin")
    np.concatenate([values.shape, values.ravel()]).tofile(path)
    out = subprocess.run([*command, path, *map(str, arguments)], check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def optuna_races(values, make_pruner, report):
    """Each arm a trial, each seed a step; what is reported of the scores so far is up to the pruner."""
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    cells = lost = other = dropped = 0
    start = time.process_time()
    for race in values:
        used = np.zeros(ARMS, int)

        def objective(trial):
            arm, seen = trial.suggest_categorical("arm", list(range(ARMS))), []
            for seed in range(SEEDS):
                seen.append(race[arm, seed])
                used[arm] += 1
                trial.report(report(seen), seed)
                if trial.should_prune():
                    break
            if len(seen) < SEEDS and report is last:  # as its documentation asks for
                return statistics.fmean(seen)
            if len(seen) < SEEDS:
                raise optuna.TrialPruned()
            return statistics.fmean(seen)

        study = optuna.create_study(direction="maximize", pruner=make_pruner(optuna), sampler=optuna.samplers.RandomSampler(0))
        for arm in range(ARMS):
            study.enqueue_trial({"arm": arm})
        study.optimize(objective, n_trials=ARMS)
        cells += used.sum()
        dropped += used.min() < SEEDS
        lost += used[-1] < SEEDS
        other += study.best_trial.params["arm"] != ARMS - 1
    n = len(values)
    return {"races": n, "cells": cells / n, "lost": lost / n, "other": other / n, "dropped": dropped / n,
            "seconds": (time.process_time() - start) / n}


def last(seen):
    return seen[-1]


def whole_race(folder):
    """`sow prove` itself: 160 trainings that are one shell line each, with the store, supervisors and judging."""
    values = scores(1, 0, 3)[0]
    for arm in range(ARMS):
        for seed in range(SEEDS):
            with open(os.path.join(folder, f"{arm}-{seed}"), "w") as f:
                f.write(json.dumps({"step": 1, "score": float(values[arm, seed])}) + "\n")
    plan = {"sow_plan": 1, "name": "peers", "arms": [{"name": f"a{arm}", "none": True, "vars": {"n": str(arm)}} for arm in range(ARMS)],
            "train": f"cat {folder}/{{n}}-{{seed}}", "steps": 1, "metric": {"name": "score", "direction": "max"}, "seeds": {"base": 0}}
    path = os.path.join(folder, "plan.json")
    with open(path, "w") as f:
        json.dump(plan, f)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([SOW, "prove", path, "-o", os.path.join(folder, "run"), "--quiet", "--json"], capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit("race_peers: sow prove: " + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--races", type=int, default=200)
    races = parser.parse_args().races
    race = os.path.join(PROGRAMS, "race")
    rows = [("Sow (flip, the default)", lambda v, f: through_a_file([race], v, f, 0), 10 * races)]
    if shutil.which("Rscript"):
        rows.append(("irace (Friedman, one iteration)", lambda v, f: through_a_file(["Rscript", os.path.join(HERE, "race_peers.R")], v, f, races), races))
    rows += [("Optuna WilcoxonPruner (p .1)", lambda v, f: optuna_races(v, lambda o: o.pruners.WilcoxonPruner(), last), races),
             ("Optuna SuccessiveHalvingPruner", lambda v, f: optuna_races(v, lambda o: o.pruners.SuccessiveHalvingPruner(), statistics.fmean), races)]
    print("| racer | all equal: trainings, % | any arm dropped, % | any claim, % | spread: trainings, % | best arm dropped, % "
          "| another arm ahead, % | processor seconds a race | races |\n|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, judge, count in rows:
            equal, spread = judge(scores(count, 0, 1), folder), judge(scores(count, 0.2, 2), folder)
            whole, claimed = ARMS * SEEDS / 100, equal.get("claimed")
            print(f"| {name} | {equal['cells'] / whole:.0f} | {100 * equal['dropped']:.0f} | {'none made' if claimed is None else f'{100 * claimed:.1f}'} "
                  f"| {spread['cells'] / whole:.0f} | {100 * spread['lost']:.1f} | {100 * spread['other']:.0f} | {spread['seconds']:.2g} | {count} |", flush=True)
        print(f"\n`sow prove` itself with 160 trainings of one `cat` each: {whole_race(folder):.1f} s of the processor")


main()
