#!/usr/bin/env python3
"""How many steps does a grown model need to the loss that one from scratch ends at?"""

from lab import Lab, plot, table

lab = Lab("grow", __doc__)
small_steps, steps = (400, 400) if lab.quick else (3000, 3000)
small, large = 64, 128


def settings(width, count, seed, rate):
    return {
        "run.seed": seed,
        "schedule.steps": count,
        "schedule.warmup_steps": count // 20,
        "optimizer.learning_rate": rate,
        "optimizer.batch_sequences": 8,
        "model.width": width,
        "model.inner": 3 * width,
        "model.heads": width // 32,
        "model.kv_heads": width // 32,
        "model.head_dim": 32,
        "model.layers": 2,
        "local.validation_steps": steps // 40,
        "local.checkpoint_steps": 1000000,
        "local.tensorboard": "false",
    }


def first_at(curve, target):
    return next((step for step, loss in curve if loss <= target), None)


rows, lines = [], {}
for seed in lab.seeds():
    origin = lab.folder / f"small-{seed}"
    base = lab.train(settings(small, small_steps, seed, 4e-3), keep=origin)
    scratch = lab.train(settings(large, steps, seed, 4e-3))
    for name, noise in [("grown, 10 dB", "10"), ("grown, no noise", "inf")]:
        grown = lab.folder / f"grown-{seed}-{noise}"
        if not grown.exists():
            lab.atoll("grow", "--model", origin, "--width", large, "--out", grown, "--noise-db", noise, "--seed", seed)
        result = lab.train(settings(large, steps, seed, 2e-3), flags=["--init", grown])
        reached = first_at(result["curve"], scratch["val_loss"])
        rows.append([seed, name, f"{base['val_loss']:.3f}", f"{scratch['val_loss']:.3f}", f"{result['val_loss']:.3f}",
                     reached or f"not in {steps}", f"{steps / reached:.1f}" if reached else "-"])
        if seed == 1:
            lines[name] = result["curve"]
    if seed == 1:
        lines["from scratch"] = scratch["curve"]
table(["seed", "model", "small model's loss", "scratch's loss", "grown's loss", "steps to scratch's loss", "times sooner"],
      rows)
plot(lab.options.plots / "grow.svg", f"Width {small} grown to {large}, seed 1", "step", "held-out nats per byte", lines)
