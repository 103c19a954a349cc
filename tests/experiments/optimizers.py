#!/usr/bin/env python3
"""The protocol of Semenov et al. 2025 (arXiv 2509.01440) in small: every optimizer, its rate tuned on a grid of factor 2,
equal tokens, several seeds; the ranking beside the paper's (124 M parameters, 16.8 B tokens, batch 256)."""

import math

from lab import Lab, mean, plot, table

PAPER = {"ademamix": 3.166, "soap": 3.174, "adopt": 3.177, "d_muon": 3.177, "adamw": 3.183, "prodigy": 3.185,
         "lion": 3.191, "mars": 3.192, "signum": 3.200, "schedule_free": 3.211, "muon": 3.217, "sophia": 3.223}

lab = Lab("optimizers", __doc__)
steps = 200 if lab.quick else 1500
around = range(-1, 2) if lab.quick else range(-2, 4)
CENTRES = {"lion": 5e-4, "signum": 5e-4, "prodigy": 1.0, "muon": 2e-3, "sophia": 1e-3, "sgd": 0.5}


def run(name, rate, seed):
    settings = {
        "run.seed": seed,
        "schedule.steps": steps,
        "schedule.warmup_steps": steps // 10,
        "schedule.final_fraction": 0.01,
        "optimizer.name": name,
        "optimizer.learning_rate": rate,
        "optimizer.clip_norm": 0.5,
        "optimizer.batch_sequences": 16,
        "model.width": 64,
        "model.inner": 192,
        "model.heads": 2,
        "model.kv_heads": 2,
        "local.validation_steps": 0,
        "local.checkpoint_steps": 1000000,
        "local.tensorboard": "false",
    }
    if name == "schedule_free":
        settings["schedule.name"] = "constant"
        del settings["schedule.final_fraction"]
    return lab.train(settings)["val_loss"]


rows, lines = [], {}
for name in [*PAPER, "adam_mini", "sgd"]:
    rates = [CENTRES.get(name, 4e-3) * 2.0**k for k in around]
    losses = {rate: mean(run(name, rate, seed) for seed in lab.seeds()) for rate in rates}
    best = min(losses, key=losses.get)
    spread = [run(name, best, seed) for seed in lab.seeds()]
    rows.append([losses[best], name, f"{best:.2g}", f"{max(spread) - min(spread):.3f}", PAPER.get(name, "-")])
    lines[name] = [(rate / rates[0], loss) for rate, loss in losses.items() if math.isfinite(loss)]
rows.sort()
table(["place", "optimizer", "held-out loss", "best rate", "between seeds", "paper's loss"],
      [[place + 1, row[1], f"{row[0]:.3f}", *row[2:]] for place, row in enumerate(rows)])
best = {name: lines[name] for _, name, *_ in rows[:8]}
plot(lab.options.plots / "optimizers.svg", "Held-out loss over the learning rate, the best eight",
     "learning rate over the lowest tried", "nats per byte", best, log_x=True)
