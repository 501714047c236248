"use strict";
// Draws what lies in #data: an overview of tests, and of the chosen one its models, memory, latencies and events.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const COLOURS = {download: "#7f7f7f", load: "#ff9d2e", resident: "#6aa9e9", invoke: "#1f6fc4", failed: "#d62728", evict: "#9467bd", crash: "#d62728", "out of memory": "#e377c2", "no room": "#b5651d", fault: "#d62728", mark: "#7f7f7f"};
const SPANS = 300, MARKS = 60, MOST_LINES = 12;
let chosen = Math.max(0, data.tests.findIndex((test) => test.outcome === "failed" || test.outcome === "error"));

function style(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function layout(more) {
  const axis = {gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line")};
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: style("--ink"), size: 12},
    margin: {l: 140, r: 10, t: 10, b: 40}, hovermode: "closest", modebar: {bgcolor: "rgba(0,0,0,0)", color: style("--faint"), activecolor: style("--ink")}, legend: {orientation: "h", y: 1.02, yanchor: "bottom"},
    ...more, xaxis: {...axis, title: {text: "seconds since the first request"}, ...(more.xaxis || {})}, yaxis: {...axis, ...(more.yaxis || {})},
  };
}

function draw(id, traces, more) {
  const element = byId(id);
  if (!traces.length) { Plotly.purge(element); element.followed = false; element.textContent = "nothing was recorded"; return; }
  if (!element.classList.contains("js-plotly-plot")) element.textContent = "";
  Plotly.react(element, traces, layout(more), {responsive: true, displaylogo: false});
  if (["lanes", "memory"].includes(id) && !element.followed) { element.on("plotly_relayout", followZoom); element.followed = true; }
}

// What lies between two moments, as far as it can be distinguished there: closer spans of a lane are one. Zooming in draws anew.
function merged(found, from, to) {
  const least = (to - from) / SPANS, last = new Map(), drawn = [];
  for (const [began, ended, model, label] of found) {
    if (ended < from || began > to) continue;
    const before = last.get(model);
    if (before && began - before[1] < least) {
      before[1] = Math.max(before[1], ended); before[4] += 1;
      if (label && !before[3].includes(label)) before[3] += `, ${label}`;
      continue;
    }
    const one = [began, ended, model, label, 1];
    last.set(model, one); drawn.push(one);
  }
  return drawn;
}

// As above, of moments: of those that one mark would hide, the first.
function thinned(found, from, to) {
  const width = (to - from) / MARKS, slots = new Map();
  for (const [at, model, label] of found) {
    if (at < from || at > to) continue;
    const slot = `${Math.floor((at - from) / width)} ${model}`, before = slots.get(slot);
    if (before) before[3] += 1; else slots.set(slot, [at, model, label, 1]);
  }
  return [...slots.values()];
}

// One line with gaps for all spans of a kind.
function spans(name, found, lanes, width, shift) {
  const x = [], y = [], text = [];
  for (const [began, ended, model, label, count] of found) {
    const lane = lanes.get(model) + shift;
    const words = `${count > 1 ? `${count} times, at once or in quick succession: ` : ""}${name} of ${model}, ${((ended - began) * 1e3).toFixed(1)} ms${label ? ", " + label : ""}`;
    x.push(began, ended, null); y.push(lane, lane, null); text.push(words, words, null);
  }
  return {type: "scatter", mode: "lines", name, x, y, text, hovertemplate: "%{text}<extra></extra>", connectgaps: false,
    opacity: name === "resident" ? 0.45 : 1, line: {width, color: COLOURS[name], simplify: false}};
}

function lanesOf(test) {
  const wanted = byId("model").value.toLowerCase();
  return test.models.filter((model) => model.toLowerCase().includes(wanted)).reverse();
}

function wholeColour(label) { return label.startsWith("mark") ? COLOURS.mark : COLOURS.fault; }

function drawLanes(test, from = test.from, to = test.seconds) {
  const lanes = lanesOf(test), place = new Map(lanes.map((model, number) => [model, number]));
  const traces = [];
  for (const [kind, width, shift] of [["resident", 18, 0], ["download", 10, 0.25], ["load", 10, 0.25], ["no room", 10, 0.25], ["invoke", 6, -0.1], ["failed", 6, -0.25]]) {
    const found = test.spans[kind].map(([began, ended, model, label]) => [began, ended, test.models[model], label]).filter((one) => place.has(one[2]));
    if (found.length) traces.push(spans(kind, merged(found, from, to), place, width, shift));
  }
  for (const [kind, symbol] of [["evict", "triangle-down"], ["crash", "x"], ["out of memory", "cross"]]) {
    const all = test.marks[kind].map(([at, model, label]) => [at, test.models[model], label]).filter((one) => place.has(one[1]));
    const found = thinned(all, from, to);
    if (found.length) traces.push({type: "scatter", mode: "markers", name: kind, x: found.map((one) => one[0]), y: found.map((one) => place.get(one[1])),
      text: found.map((one) => (one[3] > 1 ? `${one[3]} times ${one[2]}; zoom in to tell them apart` : one[2])), hovertemplate: "%{text}<extra></extra>", marker: {symbol, size: 11, color: COLOURS[kind], line: {width: 1, color: style("--paper")}}});
  }
  const shapes = test.whole.map(([began, ended, label]) => ({type: "rect", x0: began, x1: ended, y0: 0, y1: 1, yref: "paper", fillcolor: wholeColour(label), opacity: label.startsWith("mark") ? 0.08 : 0.18, line: {width: began === ended ? 2 : 0, color: wholeColour(label)}, label: {text: label, textposition: "top left", font: {size: 10}}}));
  draw("lanes", traces, {height: 110 + 44 * lanes.length, shapes, xaxis: {range: [from, to]},
    yaxis: {tickmode: "array", tickvals: [...place.values()], ticktext: lanes, range: [-0.6, lanes.length - 0.4], zeroline: false}});
}

// Of samples that lie too close to be distinguished, the highest.
function highest(samples, from, to) {
  const width = (to - from) / SPANS, slots = new Map();
  samples.at.forEach((at, place) => {
    const slot = Math.floor((at - from) / width), before = slots.get(slot);
    if (before === undefined || samples.used[place] > samples.used[before]) slots.set(slot, place);
  });
  const places = [...slots.values()];
  return {at: places.map((one) => samples.at[one]), used: places.map((one) => samples.used[one]), limit: places.map((one) => samples.limit[one]), peak: places.map((one) => samples.peak[one])};
}

function drawMemory(test, from = test.from, to = test.seconds) {
  const traces = [];
  for (const [server, all] of Object.entries(test.memory)) {
    const samples = highest(all, from, to);
    traces.push({type: "scatter", mode: samples.at.length > 1 ? "lines" : "markers", name: server, x: samples.at, y: samples.used, line: {shape: "hv"}, fill: "tozeroy"});
    if (samples.peak.some((one) => one !== null)) traces.push({type: "scatter", mode: samples.at.length > 1 ? "lines" : "markers", name: `peak of ${server}`, x: samples.at, y: samples.peak, line: {dash: "dot", shape: "hv"}});
    if (samples.limit.some((one) => one !== null)) traces.push({type: "scatter", mode: "lines", name: `limit of ${server}`, x: samples.at, y: samples.limit, line: {dash: "dash", shape: "hv", color: COLOURS.failed}});
  }
  draw("memory", traces, {height: 260, xaxis: {range: [from, to]}, yaxis: {title: {text: "MiB"}, rangemode: "tozero"}});
}

function drawLatencies(test) {
  const lanes = new Set(lanesOf(test));
  const slowest = Object.entries(test.latencies).filter(([model]) => lanes.has(model)).sort((one, other) => other[1].at(-1) - one[1].at(-1));
  byId("slowest").textContent = slowest.length > MOST_LINES ? `, of the ${MOST_LINES} slowest of ${slowest.length} models` : "";
  const traces = slowest.slice(0, MOST_LINES)
    .map(([model, ms]) => ({type: "scatter", mode: "lines+markers", name: model, x: data.percentiles.map(String), y: ms}));
  drawFew(test, lanes);
  byId("latencies").hidden = !traces.length && !byId("few").hidden;
  if (byId("latencies").hidden) return;
  draw("latencies", traces, {height: 300, xaxis: {title: {text: "percent of the requests took no longer"}, type: "category"}, yaxis: {title: {text: "ms"}, type: "log"}});
}

// Of a few requests each one: percentiles of them would mean nothing.
function drawFew(test, lanes) {
  const few = Object.entries(test.few).filter(([model]) => lanes.has(model));
  byId("few").hidden = !few.length;
  if (!few.length) return;
  const traces = few.map(([model, ms]) => ({type: "scatter", mode: "markers", name: model, x: ms, y: ms.map(() => model), marker: {size: 9, opacity: 0.7},
    text: ms.map((one, number) => `request ${number + 1} of ${ms.length} to ${model}, ${one.toFixed(1)} ms`), hovertemplate: "%{text}<extra></extra>"}));
  draw("few", traces, {height: 110 + 30 * few.length, showlegend: false, xaxis: {title: {text: "ms, a dot for each request"}, rangemode: "tozero"}, yaxis: {type: "category"}});
}

function cell(row, text, className) {
  const made = row.insertCell();
  made.textContent = text; if (className) made.className = className;
  return made;
}

function fillEvents(test) {
  const lanes = new Set(lanesOf(test)), body = byId("events").tBodies[0];
  const found = test.events.filter((one) => !one[3] || lanes.has(one[3]));
  body.replaceChildren();
  for (const event of found) { const row = body.insertRow(); event.forEach((text) => cell(row, text === null ? "" : text)); }
  const last = test.listed > test.events.length ? `the last ${test.events.length} of ${test.listed}` : `${test.listed}`;
  byId("counted").textContent = `${test.counted} events; ${last} without requests and samples; below, those of the models above: ${found.length}`;
}

function section([title, text]) {
  const head = document.createElement("h3"), body = document.createElement("pre");
  head.textContent = title; body.textContent = text; body.tabIndex = 0;
  return [head, body];
}

function fillEvidence(test) {
  const isFailure = ([title]) => /^(failure|error at)/.test(title);
  byId("reason").textContent = test.reason;
  byId("failure").replaceChildren(...test.evidence.filter(isFailure).flatMap(section));
  byId("evidence").replaceChildren(...test.evidence.filter((one) => !isFailure(one)).flatMap(section));
}

function show() {
  const test = data.tests[chosen];
  byId("one-title").textContent = test ? `${test.id}: ${test.outcome}` : "no test used a server";
  if (!test) return;
  byId("test").value = String(chosen);
  for (const row of byId("tests").tBodies[0].rows) row.setAttribute("aria-current", String(Number(row.dataset.test) === chosen));
  byId("zero").textContent = test.zero ? `0 is the first request, ${test.zero} s after the test's timeline began; texts count from that beginning` : "";
  fillEvidence(test); fillEvents(test);
  if (window.Plotly) drawCharts(test);  // its script comes after this one
}

function drawCharts(test) { drawTime(test); drawLatencies(test); }

// Plotly tells of every zoom, and of what we draw ourselves, too. Models and memory show the same time.
function followZoom(change) {
  if (change["xaxis.autorange"]) drawTime(data.tests[chosen]);
  else if (change["xaxis.range[0]"] !== undefined) drawTime(data.tests[chosen], change["xaxis.range[0]"], change["xaxis.range[1]"]);
}

function drawTime(test, from, to) { drawLanes(test, from, to); drawMemory(test, from, to); }

function choose(place, focus) {
  chosen = place; history.replaceState(null, "", `#test-${place}`);  // so that its link works again after another choice
  show(); if (focus) byId("one-title").focus();
}

function fillTests() {
  const body = byId("tests").tBodies[0], select = byId("test"), only = byId("failed").checked;
  body.replaceChildren(); select.replaceChildren();
  data.tests.forEach((test, place) => {
    if (only && test.outcome !== "failed" && test.outcome !== "error") return;
    select.add(new Option(`${test.outcome}  ${test.id}`, String(place)));
    for (const one of test.servers.length ? test.servers : [["", "", "", "", "", "", "", "", ""]]) {
      const row = body.insertRow(); row.dataset.test = String(place);
      const link = document.createElement("a"); link.href = `#test-${place}`; link.textContent = test.id;
      row.insertCell().append(link); cell(row, test.outcome, test.outcome); cell(row, test.reason, "reason"); one.forEach((text) => cell(row, text === null ? "-" : text));
    }
  });
}

function followHash() {
  const found = /^#test-(\d+)$/.exec(location.hash);
  if (found && data.tests[Number(found[1])]) choose(Number(found[1]), true);
}

fillTests();
show();
followHash();
byId("test").addEventListener("change", (event) => choose(Number(event.target.value), false));
byId("model").addEventListener("input", show);
byId("failed").addEventListener("change", () => {
  fillTests();
  const listed = [...byId("test").options].map((one) => Number(one.value));
  if (listed.length) choose(listed.includes(chosen) ? chosen : listed[0], false);
});
byId("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark"; show();
});
window.addEventListener("hashchange", followHash);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
const after = (what) => requestAnimationFrame(() => requestAnimationFrame(() => { document.documentElement.dataset[what] = String(Math.round(performance.now())); }));
after("usableMs");

// Called when Plotly is there.
function drawFirst() {
  if (data.tests[chosen]) drawCharts(data.tests[chosen]);
  after("drawnMs");
}
