"""What the experiments share: English text, runs of `atoll train` that are remembered, tables and SVG plots.

Needs Python 3 alone. Every finished run is a line of <work>/runs.jsonl, so that an experiment that was stopped goes on
where it was. Settings are keys of the run file; results are those of `atoll train --json`, with the curve of held-out
losses.
"""

import argparse
import gzip
import json
import math
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"]


class Lab:
    def __init__(self, name, description):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--atoll", default=ROOT / "build/release/atoll", type=pathlib.Path)
        parser.add_argument("--work", default=pathlib.Path("experiments"), type=pathlib.Path, help="runs and data")
        parser.add_argument("--plots", default=ROOT / "docs/figures", type=pathlib.Path, help="where plots go")
        parser.add_argument("--threads", default=2, type=int)
        parser.add_argument("--seeds", type=int, help="default: 3, with --quick 1")
        parser.add_argument("--quick", action="store_true", help="the small version: minutes instead of a night")
        self.options = parser.parse_args()
        self.folder = self.options.work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "runs.jsonl"
        self.known = {}
        if self.log.exists():
            for line in self.log.read_text().splitlines():
                entry = json.loads(line)
                self.known[json.dumps(entry["settings"], sort_keys=True)] = entry["result"]

    @property
    def quick(self):
        return self.options.quick

    def seeds(self):
        return range(1, (self.options.seeds or (1 if self.quick else 3)) + 1)

    def atoll(self, *arguments):
        command = [str(self.options.atoll), *map(str, arguments), "--json", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        result = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
        result["exit_code"] = done.returncode
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        return result

    def data(self):
        """The dictionary of Debian's dict-gcide as shards of bytes, as `atoll demo` uses it."""
        shards = self.options.work / "data"
        if not shards.exists():
            text = self.options.work / "gcide.txt"
            with gzip.open("/usr/share/dictd/gcide.dict.dz") as source:
                text.write_bytes(source.read())
            self.atoll("data", "prepare", "--input", text, "--out", shards)
        return shards

    def train(self, settings, flags=(), keep=None):
        """One run. Result: val_loss (inf where it diverged), curve [[step, held-out loss]], and what --json says."""
        identity = dict(settings, flags=[str(flag) for flag in flags])
        key = json.dumps(identity, sort_keys=True)
        if key in self.known and (keep is None or keep.exists()):
            return self.known[key]
        out = keep or self.folder / "run"
        arguments = ["train", "--data", self.data(), "--out", out, "--fresh", "--overwrite"]
        arguments += ["--threads", self.options.threads, *flags]
        for name, value in settings.items():
            arguments += ["--set", f"{name}={value}"]
        if out.exists():
            shutil.rmtree(out)
        result = self.atoll(*arguments)
        result["curve"] = [
            [event["step"], event["loss"]] for event in self.events(out) if event["kind"] == "validation"
        ]
        if result["exit_code"] != 0 or result.get("val_loss") is None:
            result["val_loss"] = math.inf
        with self.log.open("a") as log:
            log.write(json.dumps({"settings": identity, "result": result}) + "\n")
        self.known[key] = result
        print(f"{result['val_loss']:.4f}  {key}", flush=True)
        return result

    @staticmethod
    def events(out):
        metrics = out / "metrics.jsonl"
        return [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def table(header, rows):
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def best_rate(losses):
    """The minimum of a parabola through the lowest point and its neighbours, in log rate. losses: {rate: loss}."""
    points = sorted((math.log2(rate), loss) for rate, loss in losses.items() if math.isfinite(loss))
    i = min(range(len(points)), key=lambda k: points[k][1])
    if i == 0 or i == len(points) - 1:
        return 2 ** points[i][0]  # at the edge of what was tried
    (x0, y0), (x1, y1), (x2, y2) = points[i - 1 : i + 2]
    h = x1 - x0
    bend = y0 - 2 * y1 + y2
    return 2 ** (x1 + (0.5 * h * (y0 - y2) / bend if bend > 0 else 0))


def plot(path, title, x_label, y_label, series, log_x=False, panel_titles=None):
    """Line charts side by side. series: a list of {name: [(x, y)]}, one a panel; all panels share both axes."""
    panels = series if isinstance(series, list) else [series]
    points = [p for panel in panels for line in panel.values() for p in line if math.isfinite(p[1])]
    across = (lambda x: math.log2(x)) if log_x else (lambda x: x)
    low_x, high_x = min(across(p[0]) for p in points), max(across(p[0]) for p in points)
    low_y, high_y = min(p[1] for p in points), max(p[1] for p in points)
    high_y += 0.05 * (high_y - low_y) + 1e-9
    width, height, left, top = 340, 260, 60, 40
    names = list(dict.fromkeys(name for panel in panels for name in panel))
    total = left + len(panels) * (width + 20) + 160
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height + 100}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/><text x="{left}" y="18" font-size="14">{title}'
        "</text>"
    ]
    for index, panel in enumerate(panels):
        x0 = left + index * (width + 20)
        to_x = lambda x: x0 + (across(x) - low_x) / (high_x - low_x or 1) * width
        to_y = lambda y: top + height - (y - low_y) / (high_y - low_y or 1) * height
        svg.append(f'<rect x="{x0}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>')
        if panel_titles:
            svg.append(f'<text x="{x0 + 6}" y="{top + 16}">{panel_titles[index]}</text>')
        for tick in range(5):
            y = low_y + (high_y - low_y) * tick / 4
            if index == 0:
                svg.append(f'<text x="{x0 - 6}" y="{to_y(y) + 4:.1f}" text-anchor="end">{y:.3g}</text>')
            svg.append(f'<path d="M{x0} {to_y(y):.1f}h{width}" stroke="#eee"/>')
            position = low_x + (high_x - low_x) * tick / 4
            value = 2**position if log_x else position
            label = f'<text x="{x0 + width * tick / 4:.1f}" y="{top + height + 16}" text-anchor="middle">{value:.2g}</text>'
            svg.append(label)
        for name, line in panel.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            shown = [(to_x(x), to_y(y)) for x, y in line if math.isfinite(y)]
            if len(shown) > 1:
                d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in shown)
                svg.append(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
            if len(shown) < 30:
                svg += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in shown]
    for i, name in enumerate(names):
        x, y = total - 150, top + 16 + 18 * i
        svg.append(f'<path d="M{x} {y - 4}h18" stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="3"/>')
        svg.append(f'<text x="{x + 24}" y="{y}">{name}</text>')
    svg.append(f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">{x_label}</text>')
    svg.append(f'<text x="14" y="{top + height / 2}" transform="rotate(-90 14 {top + height / 2})" '
               f'text-anchor="middle">{y_label}</text></svg>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(svg) + "\n")
    print(f"\n{path}")
