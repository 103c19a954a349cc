#!/usr/bin/env python3
"""Compares algorithms on one small language model at equal tokens, over several seeds.

    tests/experiments/compare_algorithms.py                         # what is missing is run, then the page is written
    tests/experiments/compare_algorithms.py --only sparseloco,demo --seeds 1
    tests/experiments/compare_algorithms.py --list

Every cell (row and seed) is one `atoll-sim sims/scenario/compare_algorithms.toml`: real training on English text, simulated
links of 100 Mb/s. Results are kept, one JSON line a cell, under the command that made them, so only new or changed cells
run. A new algorithm is one line in ROWS. Needs nothing but Python's standard library.
"""
import argparse
import collections
import concurrent.futures
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCENARIO = "sims/scenario/compare_algorithms.toml"
STEPS = 900  # of all algorithms
BATCH = 16  # sequences of 64 bytes a step, among all members

Row = collections.namedtuple("Row", "name members inner_steps settings limit note")


def row(name, members, inner_steps, settings, limit=None, note=""):
    """settings: `key=value ...`, applied in order after the scenario. limit: how far the loss may lie above data-parallel's,
    as a fraction."""
    return Row(name, members, inner_steps, settings.split(), limit, note)


ROWS = [
    row("data-parallel", 1, 30, "algorithm.name=diloco algorithm.outer_optimizer=sgd algorithm.outer_momentum=0 "
        "algorithm.outer_learning_rate=1",
        note="one member with the whole batch takes the same steps; bytes and seconds are those of a ring all-reduce of fp32 "
             "gradients among 4, computed"),
    row("diloco-1", 1, 30, "algorithm.name=diloco algorithm.outer_learning_rate=0.4", 0.005),
    row("diloco-2", 2, 30, "algorithm.name=diloco algorithm.outer_learning_rate=0.6", 0.02),
    row("diloco-4", 4, 30, "algorithm.name=diloco algorithm.outer_learning_rate=0.6", 0.04),
    row("diloco-8", 8, 30, "algorithm.name=diloco algorithm.outer_learning_rate=0.8", 0.08),
    row("streaming", 4, 30, "algorithm.name=streaming_diloco algorithm.outer_learning_rate=0.6 algorithm.fragments=2 codec.name=e3m0"),
    row("data_parallel-4", 4, 30, "algorithm.name=data_parallel averaging.name=all_reduce codec.name=bf16",
        note="the algorithm itself, gradients in bf16"),
    row("acco", 4, 30, "algorithm.name=acco averaging.name=all_reduce codec.name=bf16 algorithm.batches_max=1 "
        "optimizer.batch_sequences=2 simulation.step_seconds=0.005",
        note="two half batches a step, each as long as it takes, not as long as the exchange: equal tokens"),
    row("distributed_lion", 4, 30, "algorithm.name=distributed_lion averaging.name=all_reduce codec.name=none optimizer.name=lion "
        "optimizer.learning_rate=0.0007"),
    row("fedavg", 4, 30, "algorithm.name=fedavg averaging.name=star codec.name=int8_block"),
    row("focus", 4, 3, "algorithm.name=focus averaging.name=star codec.name=int8_block optimizer.name=sgd optimizer.beta1=0 "
        "optimizer.weight_decay=0 optimizer.learning_rate=0.5"),
    row("muloco", 4, 30, "algorithm.name=muloco"),
    row("sparseloco", 4, 30, "algorithm.name=sparseloco"),
    row("sparse-muloco", 4, 30, "algorithm.name=sparseloco optimizer.name=muon", note="ours: SparseLoCo's exchange with Muon inside"),
    row("noloco", 4, 50, "algorithm.name=noloco"),
    row("noloco-8", 8, 50, "algorithm.name=noloco"),
    row("noloco_cascade", 4, 50, "algorithm.name=noloco_cascade"),
    row("noloco_cascade-8", 8, 50, "algorithm.name=noloco_cascade"),
    row("demo", 4, 1, "algorithm.name=demo"),
    row("sparta", 4, 1, "algorithm.name=sparta"),
    row("decentralized_adam", 4, 1, "algorithm.name=decentralized_adam codec.name=bf16"),
    row("gradient_tracking", 4, 1, "algorithm.name=gradient_tracking optimizer.name=sgd codec.name=bf16"),
]


def command(cell_row, seed, program):
    if STEPS % cell_row.inner_steps or BATCH % cell_row.members:
        sys.exit(f"{cell_row.name}: {STEPS} steps of {BATCH} sequences cannot be cut into rounds of {cell_row.inner_steps} "
                 f"and {cell_row.members} members")
    name, *others = cell_row.settings  # algorithm.name: what it brings, the rest overrides
    # A member computes its part of the batch at the speed at which one alone takes 40 ms for the whole of it.
    sets = [name, f'network.sites=["home {cell_row.members} 100 10"]', f"run.members_min={cell_row.members}",
            f"run.rounds={STEPS // cell_row.inner_steps}", f"algorithm.inner_steps={cell_row.inner_steps}",
            f"optimizer.batch_sequences={BATCH // cell_row.members}",
            f"simulation.step_seconds={0.04 / cell_row.members}", *others]
    return [program, SCENARIO, "--quiet", "--json", "--seed", str(seed)] + [part for s in sets for part in ("--set", s)]


def key_of(cell_row, seed):
    return " ".join(command(cell_row, seed, "atoll-sim"))


def run_cell(cell_row, seed, program):
    done = subprocess.run(command(cell_row, seed, program), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{cell_row.name}, seed {seed}: exit code {done.returncode}\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    kept = ("tokens", "steps", "val_loss", "bytes_per_node", "virtual_seconds", "wall_seconds", "consensus_distance",
            "bytes_data_parallel")
    return {"cell": key_of(cell_row, seed), **{k: result[k] for k in kept}}


def run_missing(rows, seeds, program, store, jobs):
    results = {}
    if store.exists():
        for line in store.read_text().splitlines():
            cell = json.loads(line)
            results[cell["cell"]] = cell
    missing = [(r, s) for s in seeds for r in rows if key_of(r, s) not in results]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tasks = {pool.submit(run_cell, r, s, program): (r, s) for r, s in missing}
        for count, task in enumerate(concurrent.futures.as_completed(tasks), 1):
            cell = task.result()
            results[cell["cell"]] = cell
            with store.open("a") as out:
                out.write(json.dumps(cell) + "\n")
            r, s = tasks[task]
            print(f"{count}/{len(missing)} {r.name} seed {s}: loss {cell['val_loss']:.4f}, {cell['wall_seconds']:.0f} s", file=sys.stderr)
    return results


def summarise(rows, seeds, results):
    """One dictionary a row: means over the seeds."""
    lines = []
    for r in rows:
        cells = [results[key_of(r, s)] for s in seeds]
        mean = {k: statistics.fmean(c[k] for c in cells) for k in cells[0] if k != "cell"}
        mean["deviation"] = statistics.stdev([c["val_loss"] for c in cells]) if len(cells) > 1 else math.nan
        mean["losses"] = [c["val_loss"] for c in cells]
        lines.append((r, mean))
    reference = lines[0][1]
    if rows[0].name == "data-parallel":
        peers = next((m for r, m in lines if r.members == 4), None)
        if peers:  # a ring among four: 2 (n - 1) / n vectors each way, and 2 (n - 1) messages of latency a step
            reference["bytes_per_node"] = peers["bytes_data_parallel"]
            reference["virtual_seconds"] = reference["steps"] * (0.01 + 6 * 0.01) + peers["bytes_data_parallel"] / 12.5e6
    for r, mean in lines:
        mean["excess"] = statistics.fmean(a / b - 1 for a, b in zip(mean["losses"], reference["losses"]))
        mean["fewer"] = reference["bytes_per_node"] / mean["bytes_per_node"] if mean["bytes_per_node"] else math.inf
    return lines


def table(lines):
    text = ("| row | members | held-out loss | against data-parallel | at most | bytes sent a member | fewer | seconds at 100 Mb/s | disagreement |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
    for r, m in lines:
        limit = "" if r.limit is None else f"{100 * r.limit:+.1f}%: {'yes' if m['excess'] <= r.limit else 'no'}"
        fewer = "" if r is lines[0][0] or not m["bytes_per_node"] else f"{m['fewer']:,.0f}x"
        sent = "0" if not m["bytes_per_node"] else f"{m['bytes_per_node'] / 1e6:,.3g} MB"
        text += (f"| {r.name} | {r.members} | {m['val_loss']:.4f} ± {m['deviation']:.4f} | {100 * m['excess']:+.2f}% | {limit} | "
                 f"{sent} | {fewer} | {m['virtual_seconds']:,.0f} | {m['consensus_distance']:.1e} |\n")
    return text


def svg(lines):
    """Held-out loss over bytes sent a member (logarithmic), a point a row."""
    points = [(r.name, m["bytes_per_node"], m["val_loss"], m["deviation"]) for r, m in lines if m["bytes_per_node"] > 0]
    width, height, left, right, top, bottom = 860, 460, 70, 150, 20, 50
    low = math.floor(min(math.log10(p[1]) for p in points))
    high = math.ceil(max(math.log10(p[1]) for p in points))
    losses = [p[2] for p in points]
    floor, ceiling = math.floor(min(losses) * 20 - 0.5) / 20, math.ceil(max(losses) * 20 + 0.5) / 20

    def x(value):
        return left + (math.log10(value) - low) / (high - low) * (width - left - right)

    def y(value):
        return top + (ceiling - value) / (ceiling - floor) * (height - top - bottom)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>']
    for power in range(low, high + 1):
        at = x(10.0 ** power)
        unit = {0: "B", 3: "kB", 6: "MB", 9: "GB"}[power // 3 * 3]
        out.append(f'<path d="M{at:.1f} {top}V{height - bottom}" stroke="#ddd"/>'
                   f'<text x="{at:.1f}" y="{height - bottom + 18}" text-anchor="middle">{10 ** (power % 3)} {unit}</text>')
    ticks = 8 if ceiling - floor > 0.3 else 4
    for i in range(ticks + 1):
        loss = floor + (ceiling - floor) * i / ticks
        out.append(f'<path d="M{left} {y(loss):.1f}H{width - right}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3f}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">bytes sent by a member in the whole run</text>'
               f'<text transform="translate(16 {(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">held-out loss, nats a byte</text>')
    labels = []
    for name, sent, loss, deviation in sorted(points, key=lambda p: y(p[2])):
        at_x, at_y = x(sent), y(loss)
        label_y = at_y + 4
        while any(abs(label_y - other) < 12 and abs(at_x - other_x) < 120 for other_x, other in labels):
            label_y += 2
        labels.append((at_x, label_y))
        if deviation == deviation:
            out.append(f'<path d="M{at_x:.1f} {y(loss - deviation):.1f}V{y(loss + deviation):.1f}" stroke="#36c"/>')
        out.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4" fill="#36c"/>'
                   f'<text x="{at_x + 8:.1f}" y="{label_y:.1f}">{name}</text>')
    return "\n".join(out + ["</svg>", ""])


def write_page(lines, seeds, page):
    """Replaces what stands between the page's two markers."""
    begin, end = "<!-- compare_algorithms: begin -->\n", "<!-- compare_algorithms: end -->\n"
    before, rest = page.read_text().split(begin)
    after = rest.split(end)[1]
    tokens = lines[0][1]["tokens"]
    missing = [r.name for r in ROWS if r.name not in {done.name for done, _ in lines}]
    text = (f"{tokens / 1e6:.2f} million bytes of text a run, {STEPS} steps of {BATCH} sequences among the members, seeds {', '.join(map(str, seeds))}; "
            "mean ± standard deviation of the seeds.\n\n" + table(lines) + "\n" + "![held-out loss over bytes sent](figures/compare_algorithms.svg)\n\n")
    notes = [f"- `{r.name}`: {r.note}." for r, _ in lines if r.note]
    if missing:
        notes.append(f"- Not run yet: {', '.join(missing)}.")
    page.write_text(before + begin + text + "\n".join(notes) + ("\n" if notes else "") + end + after)
    (page.parent / "figures/compare_algorithms.svg").write_text(svg(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3", help="comma-separated")
    parser.add_argument("--only", default="", help="rows, comma-separated; then the page is left alone (see --page)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once")
    parser.add_argument("--program", default=str(ROOT / "build/release/atoll-sim"))
    parser.add_argument("--store", default=str(ROOT / "build/compare_algorithms.jsonl"), help="results so far")
    parser.add_argument("--set", action="append", default=[], help="key=value for every row, to try something out")
    parser.add_argument("--page", action="store_true", help="write the page though it is not all rows")
    parser.add_argument("--list", action="store_true", help="print the commands, run nothing")
    options = parser.parse_args()
    seeds = [int(s) for s in options.seeds.split(",")]
    only = options.only.split(",") if options.only else []
    rows = [r._replace(settings=r.settings + options.set) for r in ROWS if not only or r.name in only]
    if options.list:
        for r in rows:
            print(f"{r.name}: " + " ".join(command(r, seeds[0], os.path.relpath(options.program))))
        return
    results = run_missing(rows, seeds, options.program, pathlib.Path(options.store), options.jobs)
    lines = summarise(rows, seeds, results)
    if (only or options.set) and not options.page:
        print(table(lines))
    else:
        write_page(lines, seeds, ROOT / "docs/experiments.md")


if __name__ == "__main__":
    main()
