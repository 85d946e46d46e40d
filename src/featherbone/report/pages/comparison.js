"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const axes = {
  params: ["parameters", 1e6, "M"],
  macs: ["multiply-accumulates", 1e6, "M"],
  traffic_bytes: ["memory traffic", 1e6, "MB"],
  cio: ["in and out of convolutions (CIO)", 1e6, "M elements"],
  activations: ["activations", 1e6, "M elements"],
  peak_bytes: ["live memory at most", 1e6, "MB"],
  bound_ms: ["roofline", 1, "ms"],
};
const columns = [
  ["network", (e) => e.name, (v) => v],
  ["ms", (e) => e.timing.median_ms, (v) => v.toFixed(2)],
  ["p10 ms", (e) => e.timing.p10_ms, (v) => v.toFixed(2)],
  ["p90 ms", (e) => e.timing.p90_ms, (v) => v.toFixed(2)],
  ["p99 ms", (e) => e.timing.p99_ms, (v) => v.toFixed(2)],
  ["runs", (e) => e.timing.runs, (v) => v],
  ["images/s", (e) => e.images_per_s, (v) => v.toFixed(1)],
  ["GFLOP/s", (e) => e.gflops, (v) => v.toFixed(1)],
  ["of peak", (e) => e.of_peak, (v) => (100 * v).toFixed(0) + " %"],
  ["roofline ms", (e) => e.bound_ms, (v) => v.toFixed(2)],
  ["waits for memory", (e) => e.memory_bound, (v) => (100 * v).toFixed(0) + " %"],
  ["M params", (e) => e.params / 1e6, (v) => v.toFixed(2)],
  ["M macs", (e) => e.macs / 1e6, (v) => v.toFixed(0)],
  ["traffic MB", (e) => e.traffic_bytes / 1e6, (v) => v.toFixed(1)],
  ["M CIO", (e) => e.cio / 1e6, (v) => v.toFixed(2)],
  ["peak MB", (e) => (e.measured_peak_bytes ?? Infinity) / 1e6, (v) => (v === Infinity ? "-" : v.toFixed(1))],
  ["J per image", (e) => e.energy.joules ?? Infinity, (v) => (v === Infinity ? "-" : v.toPrecision(3))],
];
const pick = (id) => document.getElementById(id);
const pinned = new Set();
let order = [1, 1];

function style() {
  const look = getComputedStyle(document.documentElement);
  const ink = look.getPropertyValue("--ink").trim();
  const line = look.getPropertyValue("--line").trim();
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  return {
    layout: (more) => ({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink }, hovermode: "closest",
      margin: { l: 60, r: 20, t: 10, b: 50 }, legend: { orientation: "h", y: -0.25 }, ...more,
      xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    }),
    options: { responsive: true, displaylogo: false },
  };
}

const group = () => data.groups[Number(pick("group").value)];
const shown = () => group().entries.filter((e) => e.name.includes(pick("filter").value.trim()));

function pareto() {
  const [label, unit, name] = axes[pick("axis").value];
  const entries = shown();
  const cost = (e) => e[pick("axis").value] / unit;
  const front = [];
  for (const e of [...entries].sort((a, b) => cost(a) - cost(b) || a.timing.median_ms - b.timing.median_ms)) {
    if (!front.length || e.timing.median_ms < front[front.length - 1].timing.median_ms) front.push(e);
  }
  const { layout, options } = style();
  Plotly.react("pareto", [
    { x: front.map(cost), y: front.map((e) => e.timing.median_ms), mode: "lines", line: { dash: "dot", width: 1 },
      hoverinfo: "skip", showlegend: false },
    { x: entries.map(cost), y: entries.map((e) => e.timing.median_ms), mode: "markers", marker: { size: 11 },
      error_y: { type: "data", symmetric: false, thickness: 1,
        array: entries.map((e) => e.timing.p90_ms - e.timing.median_ms),
        arrayminus: entries.map((e) => e.timing.median_ms - e.timing.p10_ms) },
      text: entries.map((e) => e.name), showlegend: false,
      hovertemplate: "<b>%{text}</b><br>%{y:.2f} ms<br>%{x:.2f} " + name + "<extra></extra>" },
  ], layout({
    xaxis: { title: { text: label + ", " + name }, type: "log" },
    yaxis: { title: { text: "median time, ms" }, type: "log" },
    annotations: entries.filter((e) => pinned.has(e.name)).map((e) => ({
      x: Math.log10(cost(e)), y: Math.log10(e.timing.median_ms), text: e.name, showarrow: true, arrowhead: 0, ax: 25, ay: -25,
    })),
  }), options);
}

function correlation() {
  const found = group().correlations;
  const names = Object.keys(axes).sort((a, b) => found[b] - found[a]);
  pick("ranks").textContent = "Spearman's rank correlation of each cost with the measured time, over all " +
    group().entries.length + " networks of this setting: 1 is the same order.";
  const { layout, options } = style();
  Plotly.react("correlation", [{ type: "bar", orientation: "h", x: names.map((n) => found[n]).reverse(),
    y: names.map((n) => axes[n][0]).reverse(), text: names.map((n) => found[n].toFixed(2)).reverse(),
    hovertemplate: "%{y}: %{x:.3f}<extra></extra>" }],
    layout({ xaxis: { range: [Math.min(0, ...Object.values(found)), 1] }, yaxis: {} }), options);
}

function stages() {
  const place = { params: 1, macs: 2, traffic_bytes: 3 }[pick("axis").value] ?? 3;
  const [label, unit, name] = axes[["", "params", "macs", "traffic_bytes"][place]];
  const entries = [...shown()].reverse();
  const rank = (part) => ["stem", "stages", "head"].indexOf(part.split(".")[0]);
  const parts = [...new Set(entries.flatMap((e) => e.stages.map((row) => row[0])))];
  parts.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b, undefined, { numeric: true }));
  const { layout, options } = style();
  Plotly.react("stages", parts.map((part) => ({ type: "bar", orientation: "h", name: part,
    y: entries.map((e) => e.name), x: entries.map((e) => e.stages.filter((r) => r[0] === part).reduce((a, r) => a + r[place] / unit, 0)),
    hovertemplate: "%{y}, " + part + ": %{x:.2f} " + name + "<extra></extra>" })),
    layout({ barmode: "stack", xaxis: { title: { text: label + ", " + name } }, yaxis: {} }), options);
}

function roofline() {
  const { flops, bytes } = group().rates;
  const entries = shown();
  const intensity = (macs, moved) => (2 * macs) / moved;
  const layers = entries.filter((e) => pinned.has(e.name) || entries.length === 1);
  const all = [flops / bytes, ...entries.map((e) => intensity(e.macs, e.traffic_bytes)),
    ...layers.flatMap((e) => e.layers.filter((l) => l[1] > 0 && l[2] > 0).map((l) => intensity(l[1], l[2])))];
  const ends = [Math.min(...all) / 2, Math.max(...all) * 2];
  const roof = (x) => Math.min(flops, x * bytes) / 1e9;
  const { layout, options } = style();
  Plotly.react("roofline", [
    { x: [ends[0], flops / bytes, ends[1]], y: [roof(ends[0]), roof(flops / bytes), roof(ends[1])], mode: "lines",
      name: "this machine", hoverinfo: "skip" },
    { x: entries.map((e) => intensity(e.macs, e.traffic_bytes)), y: entries.map((e) => e.gflops), mode: "markers",
      name: "networks, measured", marker: { size: 11 }, text: entries.map((e) => e.name),
      hovertemplate: "<b>%{text}</b><br>%{x:.1f} FLOP per byte<br>%{y:.1f} GFLOP/s<extra></extra>" },
    ...layers.map((e) => {
      const found = e.layers.filter((l) => l[1] > 0 && l[2] > 0);
      const x = found.map((l) => intensity(l[1], l[2]));
      return { x, y: x.map(roof), mode: "markers", name: "layers of " + e.name + ", at most", text: found.map((l) => l[0]),
        marker: { symbol: "line-ns-open", size: 9 },
        hovertemplate: "%{text}<br>%{x:.2f} FLOP per byte<br>at most %{y:.1f} GFLOP/s<extra></extra>" };
    }),
  ], layout({ xaxis: { title: { text: "FLOP per byte moved" }, type: "log" },
    yaxis: { title: { text: "GFLOP/s" }, type: "log" },
    annotations: entries.filter((e) => pinned.has(e.name)).map((e) => ({
      x: Math.log10(intensity(e.macs, e.traffic_bytes)), y: Math.log10(e.gflops), text: e.name, arrowhead: 0, ax: 25, ay: 25,
    })) }), options);
}

function table() {
  const [column, direction] = order;
  const value = columns[column][1];
  const rows = [...shown()].sort((a, b) => (value(a) > value(b) ? 1 : value(a) < value(b) ? -1 : 0) * direction);
  const head = document.createElement("tr");
  columns.forEach(([title], i) => {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.textContent = title;
    button.onclick = () => { order = [i, column === i ? -direction : 1]; table(); };
    cell.append(button);
    if (i === column) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    head.append(cell);
  });
  pick("table").tHead.replaceChildren(head);
  pick("table").tBodies[0].replaceChildren(...rows.map((entry) => {
    const row = document.createElement("tr");
    for (const [, get, show] of columns) row.insertCell().textContent = show(get(entry));
    return row;
  }));
}

function draw() { pareto(); correlation(); stages(); roofline(); table(); }

data.groups.forEach(({ setting: s }, i) => pick("group").add(new Option(
  `${s.size[1]}x${s.size[0]}, batch ${s.batch}, ${s.device}, ${s.precision}, ` +
  `${s.channels_last ? "channels last" : "channels first"}${s.device === "cpu" ? `, ${s.threads} threads` : ""}`, i)));
for (const [key, [label]] of Object.entries(axes)) pick("axis").add(new Option(label, key, key === "traffic_bytes", key === "traffic_bytes"));
const m = data.machine;
pick("provenance").textContent = `${m.accelerator || m.processor}, ${m.instructions}, ${m.cores} cores; ${m.system}, ` +
  `Python ${m.python}, torch ${m.torch}; ${m.date} UTC. Energy: ${[...new Set(data.groups[0].entries.map((e) => e.energy.source))].join("; ")}.`;
for (const id of ["group", "axis"]) pick(id).onchange = draw;
pick("filter").oninput = draw;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
for (const e of [group().entries[0], group().entries[group().entries.length - 1]]) pinned.add(e.name);
draw();
pick("pareto").on("plotly_click", ({ points: [point] }) => {
  if (!point.text) return;
  if (!pinned.delete(point.text)) pinned.add(point.text);
  draw();
});
