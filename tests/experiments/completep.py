#!/usr/bin/env python3
"""Does the best learning rate of a small model stay the best at 4 times its width and 8 times its depth?"""

from lab import Lab, best_rate, mean, plot, table

lab = Lab("completep", __doc__)
width, steps, batch = (32, 100, 4) if lab.quick else (64, 300, 8)
shapes = [(width, 2), (4 * width, 2), (width, 16), (4 * width, 16)]
rates = [2.0**-k for k in range(10, 3, -1)]


def loss(parameterization, shape, rate, seed):
    head_dim = 16
    heads = shape[0] // head_dim
    return lab.train(
        {
            "run.seed": seed,
            "schedule.steps": steps,
            "schedule.warmup_steps": steps // 10,
            "optimizer.learning_rate": rate,
            "optimizer.batch_sequences": batch,
            "optimizer.epsilon": 1e-12,
            "model.parameterization": parameterization,
            "model.base_width": width,
            "model.base_layers": 2,
            "model.width": shape[0],
            "model.layers": shape[1],
            "model.heads": heads,
            "model.kv_heads": heads,
            "model.head_dim": head_dim,
            "model.inner": 3 * shape[0],
            "model.context": 64,
            "local.validation_steps": 0,
            "local.checkpoint_steps": 1000000,
            "local.tensorboard": "false",
        }
    )["val_loss"]


panels, rows = [], []
names = ["standard", "completep"]
for name in names:
    panel, base = {}, None
    for shape in shapes:
        losses = {rate: mean(loss(name, shape, rate, seed) for seed in lab.seeds()) for rate in rates}
        best = best_rate(losses)
        base = base or best
        label = f"width {shape[0]}, layers {shape[1]}"
        panel[label] = sorted(losses.items())
        rows.append([name, shape[0], shape[1], f"{best:.4f}", f"{best / base:.2f}", f"{min(losses.values()):.3f}"])
    panels.append(panel)
table(["parameterization", "width", "layers", "best rate", "x the base's", "held-out loss there"], rows)
plot(lab.options.plots / "completep.svg", "Held-out loss over the learning rate", "learning rate", "nats per byte",
     panels, log_x=True, panel_titles=names)
