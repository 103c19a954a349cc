#!/usr/bin/python3
"""The training step of training_bench.cc in PyTorch (Debian's python3-torch), written as well as PyTorch allows:
fused linear layers and norms, tanh GELU, mask added inside the batched product, gradients set to None, AdamW over
tensor lists. compare_training.sh sets the environment that makes it fast.

    pytorch_step.py tiny|small|124m [--steps N] [--threads N] [--bf16] [--weights FILE]

--weights reads what training_bench --save wrote; the losses then agree with Atoll's.
"""
import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

#        layers width heads context vocabulary batch steps
SIZES = {
    "tiny": (4, 128, 4, 128, 256, 8, 40),
    "small": (6, 384, 6, 256, 4096, 8, 8),
    "124m": (12, 768, 12, 256, 50257, 4, 3),
}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.attn_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.mlp_proj = nn.Linear(4 * width, width)

    def forward(self, x, mask):
        batch, length, width = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(width, dim=2)

        def split(t):
            return t.view(batch, length, self.heads, -1).transpose(1, 2).reshape(batch * self.heads, length, -1)

        q, k, v = split(q), split(k), split(v)
        scores = torch.baddbmm(mask.to(q.dtype), q, k.transpose(1, 2), alpha=(width // self.heads) ** -0.5)
        y = torch.bmm(F.softmax(scores, dim=-1), v)
        y = y.view(batch, self.heads, length, -1).transpose(1, 2).reshape(batch, length, width)
        x = x + self.attn_proj(y)
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, layers, width, heads, context, vocabulary):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.h = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.register_buffer("mask", torch.full((1, context, context), float("-inf")).triu(1))
        for parameter in self.parameters():
            if parameter.ndim >= 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x, self.mask)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.view(-1))


def load(model, path):
    names = {"attn.c_attn": "c_attn", "attn.c_proj": "attn_proj", "mlp.c_fc": "c_fc", "mlp.c_proj": "mlp_proj"}
    with open(path, "rb") as file:
        slots = []
        while line := file.readline().decode().strip():
            name, offset, size = line.split()
            slots.append((name.removeprefix("transformer."), int(offset), int(size)))
        flat = torch.frombuffer(bytearray(file.read()), dtype=torch.float32)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, offset, size in slots:
            for theirs, ours in names.items():
                name = name.replace(theirs, ours)
            parameter = parameters.pop(name)
            parameter.copy_(flat[offset : offset + size].view(parameter.shape))
    assert not parameters, f"no weights for {sorted(parameters)}"


def fixed_batch(vocabulary, batch, length):
    state, tokens = 1, []
    for _ in range(batch * length + 1):
        state = (1103515245 * state + 12345) & 0x7FFFFFFF
        tokens.append((state >> 8) % vocabulary)
    tokens = torch.tensor(tokens)
    return tokens[:-1].view(batch, length), tokens[1:].view(batch, length)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--weights")
    args = parser.parse_args()
    layers, width, heads, context, vocabulary, batch, steps = SIZES[args.size]
    steps = args.steps or steps
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = Gpt2(layers, width, heads, context, vocabulary)
    if args.weights:
        load(model, args.weights)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, foreach=True)
    tokens, targets = fixed_batch(vocabulary, batch, context)
    seconds, losses, warm_up = [], [], 2
    for step in range(warm_up + steps):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = model(tokens, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step >= warm_up:
            seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "trainer": "pytorch " + torch.__version__,
        "size": args.size,
        "precision": "bf16" if args.bf16 else "fp32",
        "threads": args.threads,
        "tokens_per_second": round(batch * context / statistics.median(seconds), 1),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_loss": round(losses[0], 6),
        "last_loss": round(losses[-1], 6),
        "steps": warm_up + steps,
    }))


if __name__ == "__main__":
    main()
