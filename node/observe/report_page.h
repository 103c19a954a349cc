// The page of report.html, but for the data and Chart.js.
#pragma once

#include <string_view>

namespace Atoll::node {

// Between them: Chart.js, then kReportMiddle, then the data as a JSON array of {name, folder, summary,
// events}.
inline constexpr std::string_view kReportHead = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Atoll report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1b2733; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0 0 .3rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 1.5rem; }
table { border-collapse: collapse; margin: 1rem 0 2rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid #dde3e8; } th:first-child, td:first-child { text-align: left; }
label { margin-right: 1rem; }
pre { white-space: pre-wrap; background: #f4f6f8; padding: .8rem; }
@media (prefers-color-scheme: dark) { body { background: #14191f; color: #dde3e8; } th, td { border-color: #2c3640; } pre { background: #1c232b; } }
</style>
<script>)html";

inline constexpr std::string_view kReportMiddle = R"html(</script></head><body>
<h1>Atoll report</h1>
<p>Against: <label><input type="radio" name="x" value="step" checked> step</label>
<label><input type="radio" name="x" value="seconds"> seconds</label>
<label><input type="checkbox" id="log"> logarithmic loss</label></p>
<table id="summary"></table><div class="charts" id="charts"></div><div id="samples"></div>
<script>
const runs = )html";

inline constexpr std::string_view kReportTail = R"html(;
const colors = ['#2f6fde', '#d9480f', '#2b8a3e', '#9c36b5', '#c2255c', '#0b7285', '#846358', '#495057'];
const plots = [['train loss', 'step', 'loss'], ['held-out loss', 'validation', 'loss'], ['tokens per second', 'step', 'tokens_per_second'],
  ['learning rate', 'step', 'learning_rate'], ['gradient norm', 'step', 'gradient_norm'], ['update norm', 'round', 'update_norm'],
  ['bytes sent', 'round', 'bytes_sent'], ['seconds of exchange', 'round', 'exchange_seconds']];
const points = (run, kind, field, x) => {
  const first = run.events.length ? Date.parse(run.events[0].t) : 0;
  return run.events.filter(e => e.kind === kind && typeof e[field] === 'number')
    .map(e => ({ x: x === 'step' ? e.step : (Date.parse(e.t) - first) / 1000, y: e[field] }));
};
let charts = [];
function draw() {
  const x = document.querySelector('input[name=x]:checked').value;
  const logarithmic = document.getElementById('log').checked;
  charts.forEach(c => c.destroy());
  charts = [];
  const box = document.getElementById('charts');
  box.replaceChildren();
  for (const [title, kind, field] of plots) {
    const datasets = runs.map((run, i) => ({ label: run.name, data: points(run, kind, field, x), borderColor: colors[i % colors.length],
      borderWidth: 1.5, pointRadius: kind === 'step' ? 0 : 2, showLine: true })).filter(d => d.data.length);
    if (!datasets.length) continue;
    const cell = document.createElement('div');
    const heading = document.createElement('h2');
    const canvas = document.createElement('canvas');
    heading.textContent = title;
    cell.append(heading, canvas);
    box.append(cell);
    charts.push(new Chart(canvas, { type: 'scatter', data: { datasets }, options: { animation: false, parsing: false,
      scales: { x: { type: 'linear', title: { display: true, text: x } },
                y: { type: logarithmic && field === 'loss' ? 'logarithmic' : 'linear' } },
      plugins: { legend: { display: runs.length > 1 } } } }));
  }
}
function summarize() {
  const keys = [...new Set(runs.flatMap(r => Object.keys(r.summary).filter(k => ['number', 'boolean'].includes(typeof r.summary[k]))))];
  const table = document.getElementById('summary');
  const row = (name, cells) => {
    const tr = document.createElement('tr');
    [name, ...cells].forEach((text, i) => { const cell = document.createElement(i && name ? 'td' : 'th'); cell.textContent = text; tr.append(cell); });
    table.append(tr);
  };
  row('', runs.map(r => r.name));
  const show = v => typeof v === 'number' ? (Number.isInteger(v) ? v.toLocaleString('en') : Number(v.toPrecision(5)).toString()) : v === undefined ? '' : String(v);
  keys.forEach(k => row(k, runs.map(r => show(r.summary[k]))));
  for (const run of runs) {
    if (!run.summary.sample) continue;
    const heading = document.createElement('h2');
    const text = document.createElement('pre');
    heading.textContent = 'sample: ' + run.name;
    text.textContent = run.summary.sample;
    document.getElementById('samples').append(heading, text);
  }
}
document.querySelectorAll('input').forEach(i => i.addEventListener('change', draw));
summarize();
draw();
</script></body></html>
)html";

}  // namespace Atoll::node
