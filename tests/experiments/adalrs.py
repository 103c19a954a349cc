#!/usr/bin/env python3
"""Does the rate search mend a rate that is 16 or 4 times too small, or 4 times too large?"""

from lab import Lab, mean, plot, table

lab = Lab("adalrs", __doc__)
steps = 600 if lab.quick else 3000
good = 4e-3
factors = [1 / 16, 1 / 4, 1, 4]


def run(factor, search, seed):
    return lab.train(
        {
            "run.seed": seed,
            "schedule.steps": steps,
            "schedule.warmup_steps": steps // 50,
            "schedule.search": search,
            "schedule.search_window": 0 if search == "none" else max(10, steps // 60),
            "optimizer.learning_rate": good * factor,
            "optimizer.batch_sequences": 8,
            "model.width": 64,
            "model.inner": 192,
            "model.heads": 2,
            "model.kv_heads": 2,
            "local.validation_steps": steps // 40,
            "local.checkpoint_steps": 1000000,
            "local.tensorboard": "false",
        }
    )


rows, panels, spread = [], [], {}
for search in ["none", "adalrs"]:
    panel, finals = {}, []
    for factor in factors:
        results = [run(factor, search, seed) for seed in lab.seeds()]
        final = mean(result["val_loss"] for result in results)
        finals.append(final)
        panel[f"{factor:g} x good rate"] = results[0]["curve"][1:]
        rows.append([f"{factor:g}", search, f"{final:.3f}"])
    spread[search] = max(finals) - min(finals)
    panels.append(panel)
table(["times the good rate", "search", "held-out loss"], rows)
print(f"\nspread: fixed {spread['none']:.3f}, adalrs {spread['adalrs']:.3f}")
plot(lab.options.plots / "adalrs.svg", "Wrong learning rates, fixed and searched, seed 1", "step",
     "held-out nats per byte", panels, panel_titles=["fixed", "adalrs"])
