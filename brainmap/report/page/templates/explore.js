// The explorer: one state, drawn by the cortex, the charts and the words; kept in the address in a page of its own.
(function () {
  "use strict";
  const { byId, unpack, save, modern, arrays, charts, Cortex } = window.brainmap;
  const root = byId("explorer");
  if (!root) return;
  const ownPage = root.dataset.ownPage !== undefined;
  const VIEWS = ["lateral", "medial", "ventral", "dorsal", "posterior", "whole", "flat"];
  const MAPS = { layer: "r of one layer", best: "r of each place's best layer", depth: "best layer", gain: "what gradients add", ceiling: "noise ceiling" };
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const fixed = (value, digits = 3) => (value === null || value === undefined ? "none" : value.toFixed(digits).replace("-", "−"));
  const count = (n) => n.toLocaleString("en-US");
  const plain = (layer) => layer.replace(".", " ");
  let meta, part, cortex = null, signals, layers, drawn = 0, ready = false;
  const state = { signal: "", map: "best", layer: 0, step: 0, view: "lateral", at: null, time: 0, follow: false, whole: false };

  // ---- what is stored
  const numbers = (name) => arrays.numbers(name, layers.length);
  async function stored(signal, step) {
    const key = signal + "-" + step;
    const [r, error, above, best] = await Promise.all([numbers("r-" + key), numbers("error-" + key), arrays.bits("above-" + key), arrays.whole("best-" + key, 1)]);
    return { r, error, above, best };
  }
  const at = (steps, layer, place) => (steps === null ? null : arrays.value(steps, layer * part.places + place, part.step));
  const above = (bits, layer, place) => bits === null || arrays.bit(bits, layer * part.places + place) === 1;

  // ---- colours
  function shade(scale) {
    const table = scale.colors.map(rgb), last = table.length - 1;
    return (value) => table[Math.max(0, Math.min(last, Math.round(((value - scale.low) / (scale.high - scale.low)) * last)))];
  }
  const scaleOf = (signal) => part.signals.find((s) => s.key === signal).scale;
  function ramp(scale, low, bar, high) {
    low.textContent = fixed(scale.low, 2) + (scale.ends[0] ? " " + scale.ends[0] : "");
    high.textContent = fixed(scale.high, scale.high < 0.095 ? 3 : 2) + (scale.ends[1] ? " " + scale.ends[1] : "") + "  " + scale.label;
    bar.style.background = "linear-gradient(90deg," + scale.colors.join(",") + ")";
  }

  async function colors() {
    const data = await stored(state.signal, state.step), { map, layer } = state;
    if (map === "gain") {
      const { gain } = meta, tint = shade(gain.scale), byArea = part.areas.map((name) => {
        const row = gain.names.indexOf(name);
        return row >= 0 && gain.significant[row] ? tint(gain.delta[row]) : null;
      });
      return { scale: gain.scale, color: (place, side, vertex) => byArea[side.area[vertex]] };
    }
    if (map === "ceiling") {
      const ceiling = await arrays.numbers("ceiling", 1), tint = shade(part.ceiling);
      return { scale: part.ceiling, color: (place) => (ceiling[place] === arrays.MISSING ? null : tint(ceiling[place] * part.step)) };
    }
    const scale = map === "depth" ? part.depthScale : scaleOf(state.signal), tint = shade(scale);
    const color = (place) => {
      const chosen = map === "layer" ? layer : data.best[place] - 1;
      if (chosen < 0 || !above(data.above, chosen, place)) return null;
      const value = map === "depth" ? part.depths[chosen] : at(data.r, chosen, place);
      return value === null ? null : tint(value);
    };
    return { scale, color };
  }

  function colouredWords() {
    const unit = part.merged ? "vertices" : "measured vertices", { map } = state;
    if (map === "ceiling") return "Noise ceiling of r: how well a perfect model could predict each place.";
    if (map === "gain") {
      const n = meta.gain.significant.filter(Boolean).length;
      return n ? `${n} of ${meta.gain.names.length} areas, in which gradients add to activations above chance, are coloured.` : "Gradients add nothing to activations above chance in any area: nothing is coloured.";
    }
    const signal = part.signals.find((s) => s.key === state.signal), c = signal.coloured[state.step];
    if (c.best === null) return `All ${count(c.of)} ${unit} are coloured: this study made no test of single vertices, so a colour is no finding.`;
    const n = map === "layer" ? c.layers[state.layer] : c.best;
    const where = map === "layer" ? ` at ${plain(layers[state.layer])}` : " at their best layer";
    return n ? `${count(n)} of ${count(c.of)} ${unit} are above chance${where} and coloured; the rest is grey.` : `None of ${count(c.of)} ${unit} is above chance${where} (${signal.name.toLowerCase()}): nothing is coloured.`;
  }

  async function drawCortex() {
    if (!part) return;
    const { scale, color } = await colors();
    ramp(scale, byId("x-low"), byId("x-bar"), byId("x-high"));
    byId("x-coloured").textContent = colouredWords();
    if (!ready) return;
    if (cortex.view !== state.view || !cortex.low) await cortex.show(state.view);
    cortex.paint(color, state.at);
  }

  // ---- the profile of a place
  const SIDE = { L: "left", R: "right" };
  function areaProfile(name) {
    const row = meta.areas.names.indexOf(name);
    if (row < 0) return null;
    const data = meta.areas.steps[state.step], n = meta.areas.targets[row];
    const series = part.signals.map(({ key, name: words, color }) => {
      const one = data[key];
      return { key, name: words, color, mean: one.mean.map((l) => l[row]), error: one.error && one.error.map((l) => l[row]),
        above: one.above && one.above.map((l) => l[row] > 0), counts: one.above && one.above.map((l) => l[row]) };
    });
    return { title: name, words: `Mean over the ${count(n)} measured vertices of the area${sidesWords()}.`, series, n };
  }
  const sidesWords = () => (part.sides.length > 1 ? ", both hemispheres" : "");

  async function placeProfile({ side, vertex }) {
    const sideData = cortex.sides[side], place = sideData.place[vertex] - 1, name = part.areas[sideData.area[vertex]];
    const title = `${name || "no named area"}, ${SIDE[side]}: ${part.merged ? "place" : "vertex"} ${vertex}`;
    if (place < 0) return { title, words: "Nothing was measured here.", series: [], area: name };
    const series = await Promise.all(part.signals.map(async ({ key, name: words, color }) => {
      const data = await stored(key, state.step), list = layers.map((_, i) => i);
      return { key, name: words, color, mean: list.map((i) => at(data.r, i, place)), error: data.error && list.map((i) => at(data.error, i, place)),
        above: data.above && list.map((i) => above(data.above, i, place)) };
    }));
    const own = arrays.bit(sideData.own, vertex) === 1;
    const words = part.merged ? "Mean of the vertices that this place stands for; each vertex on its own is in the page of brainmap explore." :
      own ? "Measured at this vertex." : `Between measured vertices: what is shown is vertex ${ownVertex(sideData, place)}, the nearest of the same area.`;
    const ceiling = part.ceiling ? arrays.value(await arrays.numbers("ceiling", 1), place, part.step) : null;
    return { title, words, series, area: name, ceiling };
  }
  function ownVertex(side, place) {
    for (let v = 0; v < side.n; v += 1) if (side.place[v] === place + 1 && arrays.bit(side.own, v)) return v;
    return -1;
  }

  function gainWords(area) {
    const { gain } = meta;
    if (!gain) return "Gradients beyond activations: not computed in this run.";
    const row = gain.names.indexOf(area);
    if (!area || row < 0) return "Gradients beyond activations: computed by area, and not for this place.";
    const interval = gain.low ? ` [${fixed(gain.low[row])}, ${fixed(gain.high[row])}]` : "";
    const p = gain.p_fwer && gain.p_fwer[row] !== null ? `, p ${gain.p_fwer[row] < 0.001 ? "< 0.001" : "= " + fixed(gain.p_fwer[row])} corrected over areas` : "";
    return `Gradients beyond activations in ${area}: gain in r ${fixed(gain.delta[row])}${interval}${p}; ${gain.significant[row] ? "above chance" : gain.named ? "not above chance" : "not named, since no signal by itself is above chance here"}.`;
  }

  let shown = null;
  async function drawProfile() {
    if (!part) return;
    const where = state.at;
    const profile = !where ? null : where.vertex === undefined ? areaProfile(part.areas[where.area]) : cortex.sides[where.side] ? await placeProfile(where) : null;
    byId("x-area").value = where && where.vertex === undefined ? part.areas[where.area] : "";
    shown = profile;
    root.querySelector(".numbers-of").hidden = !profile || !profile.series.length;
    const svg = byId("x-profile");
    byId("x-gain").textContent = profile ? gainWords(profile.area === undefined ? profile.title : profile.area) : "";
    if (!profile) {
      byId("x-where").textContent = where ? "No scores of this area" : "Click the cortex";
      byId("x-what").textContent = "A click, or an area of the list, shows how well each layer predicts that place.";
    } else {
      byId("x-where").textContent = profile.title;
      byId("x-what").textContent = profile.words;
    }
    if (!profile || !profile.series.length) {
      svg.replaceChildren(); byId("x-legend").replaceChildren(); byId("x-numbers").replaceChildren();
      return;
    }
    charts.profile(svg, { layers: layers.map((l) => l.replace(/^.*\./, "")), series: profile.series, ceiling: profile.ceiling, current: state.layer, choose: (i) => set({ layer: i, map: state.map === "best" || state.map === "depth" ? "layer" : state.map }) });
    const errors = profile.series.some((s) => s.error), over = profile.n === undefined ? part.errorOver : meta.areas.errorOver;
    legend(byId("x-legend"), profile.series.map((s) => [s.color, s.name]), errors ? `band: ± 1 standard error over ${over}` : "no interval stored for single vertices: see the area", profile.series.some((s) => s.above) && (profile.n === undefined ? "above chance" : "a vertex of it is above chance"));
    table(profile);
  }

  function legend(box, lines, band, tested) {
    const entry = (html, words) => { const span = document.createElement("span"); if (html) span.append(html); span.append(words); box.append(span); };
    const chip = (className, color) => { const i = document.createElement("i"); i.className = className; if (color) i.style.background = color; return i; };
    box.replaceChildren();
    lines.forEach(([color, words]) => entry(chip("", color), words));
    if (tested) { entry(chip("dot full"), tested); entry(chip("dot"), tested === "above chance" ? "not above chance" : "none is"); }
    if (band) entry(null, band);
  }

  function table(profile) {
    const rows = [["layer", ...profile.series.flatMap((s) => [`r, ${s.name.toLowerCase()}`, ...(s.error ? ["± error"] : []), ...(s.above ? [s.counts ? `above chance of ${profile.n}` : "above chance"] : [])])]];
    layers.forEach((layer, i) => rows.push([layer, ...profile.series.flatMap((s) => [s.mean[i], ...(s.error ? [s.error[i]] : []), ...(s.above ? [s.counts ? s.counts[i] : s.above[i] ? "yes" : "no"] : [])])]));
    profile.rows = rows;
    const element = document.createElement("table");
    rows.forEach((row, i) => {
      const line = element.insertRow();
      row.forEach((cell, k) => {
        const box = document.createElement(i === 0 || k === 0 ? "th" : "td");
        box.scope = i === 0 ? "col" : "row";
        box.textContent = typeof cell === "number" && !Number.isInteger(cell) || cell === 0 || cell === null ? (cell === null ? "none" : Number.isInteger(cell) && rows[0][k].startsWith("above") ? String(cell) : fixed(cell, profile.n === undefined ? 3 : 4)) : String(cell);
        line.append(box);
      });
    });
    byId("x-numbers").replaceChildren(element);
  }

  // ---- times and sensors
  async function moment(signal, step) {
    const key = signal + "-" + step, n = meta.time.times.length;
    const [mean, error, bits] = await Promise.all([numbers("curve-" + key), numbers("curve-error-" + key), arrays.bits("curve-above-" + key)]);
    const list = (steps) => layers.map((_, l) => meta.time.times.map((_t, i) => arrays.value(steps, l * n + i, meta.time.curveStep)));
    return { mean: list(mean), error: error && list(error), above: bits && layers.map((_, l) => meta.time.times.map((_t, i) => arrays.bit(bits, l * n + i) === 1)) };
  }
  const timeSignal = () => (meta.time.signals.some((s) => s.key === state.signal) ? state.signal : meta.time.signals[0].key);

  function bestLayer(data, time) {
    let best = -1;
    layers.forEach((_, l) => {
      const r = data.mean[l][time];
      if (r !== null && (!data.above || data.above[l][time]) && (best < 0 || r > data.mean[best][time])) best = l;
    });
    return best;
  }

  let sensorAt = () => null;
  async function drawMoment() {
    if (!meta.time) return;
    const { times, modality, signals: named } = meta.time, key = timeSignal(), data = await moment(key, state.step);
    const tint = shade(meta.time.depthScale), depths = meta.time.depths;
    const hues = depths.map((d) => "rgb(" + tint(d).join(",") + ")"), best = bestLayer(data, state.time);
    const name = named.find((s) => s.key === key).name, ms = Math.round(1000 * times[state.time]);
    charts.curves(byId("x-curves"), { times, curves: data.mean, errors: data.error, above: data.above, colors: hues, current: state.layer, time: state.time, stimulus: meta.time.stimulus, label: `${modality} score r`, choose: setTime });
    const tested = data.above ? " above chance" : "";
    byId("x-moment").textContent = `${ms} ms, ${name.toLowerCase()}: ` + (best < 0 ? "no layer is above chance." : `best layer${tested} ${plain(layers[best])} (r = ${fixed(data.mean[best][state.time], 4)}, mean over sensors).`) +
      (best < 0 || best === state.layer ? "" : ` Shown: ${plain(layers[state.layer])} (r = ${fixed(data.mean[state.layer][state.time], 4)}${data.above && !data.above[state.layer][state.time] ? ", not above chance" : ""}).`);
    byId("x-time").value = state.time;
    byId("x-time-name").textContent = ms + " ms";
    legend(byId("x-curve-legend"), [[hues[0], plain(layers[0])], [hues[hues.length - 1], plain(layers[layers.length - 1])]], (data.error ? `band: ± 1 standard error over ${meta.time.errorOver}; ` : "") + (data.above ? "marks below: the chosen layer is above chance" : "this study made no test over time"), false);
    if (meta.time.groups.length) await drawHead(key, data);
  }

  async function drawHead(key, data) {
    const kind = Number(byId("x-kind").value || 0), group = meta.time.groups[kind], n = meta.time.times.length;
    const steps = await numbers(`sensors-${kind}-${key}-${state.step}`), places = group.x.length;
    const values = group.x.map((_, i) => arrays.value(steps, (state.layer * places + i) * n + state.time, meta.time.step));
    const tested = !data.above || data.above[state.layer][state.time], scale = group.scales[key], tint = shade(scale);
    sensorAt = charts.head(byId("x-head"), { x: group.x, y: group.y, values, color: (v) => (tested ? "rgb(" + tint(v).join(",") + ")" : "#e3e7ec") });
    ramp(scale, byId("x-head-low"), byId("x-head-bar"), byId("x-head-high"));
    drawHead.values = (i) => `${group.names[i]}: r = ${fixed(values[i])}`;
    byId("x-sensor").textContent = tested ? `Sensors at this moment, ${plain(layers[state.layer])}.` : `${plain(layers[state.layer])} is not above chance at this moment: sensors are grey.`;
  }

  async function setTime(time) {
    if (time === state.time) return;
    state.time = time;
    if (!state.follow) { drawMoment(); remember(); return; }
    const best = bestLayer(await moment(timeSignal(), state.step), time);
    const map = state.map === "gain" || state.map === "ceiling" ? state.map : "layer";
    set(best < 0 ? {} : { layer: best, map });
  }

  // ---- state, controls, address, keyboard
  function set(changes) {
    Object.assign(state, changes);
    const turn = (drawn += 1);
    show();
    return Promise.all([drawMoment(), drawProfile()]).then(() => new Promise(requestAnimationFrame)).then(() => (turn === drawn ? drawCortex() : null)).then(remember);
  }

  function show() {
    byId("x-signal").value = state.signal;
    byId("x-layer").value = state.layer;
    byId("x-layer-name").textContent = plain(layers[state.layer]);
    if (meta.steps.length) { byId("x-step").value = state.step; byId("x-step-name").textContent = count(meta.steps[state.step]); }
    if (meta.time) byId("x-follow").checked = state.follow;
    if (!part) return;
    byId("x-map").value = state.map;
    byId("x-whole-area").checked = state.whole;
    byId("x-views").querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.view === state.view)));
  }

  let kept = "";
  function remember() {
    if (!ownPage) return;
    const words = new URLSearchParams({ signal: state.signal, layer: state.layer });
    if (meta.steps.length) words.set("step", meta.steps[state.step]);
    if (meta.time) { words.set("time", meta.time.times[state.time]); words.set("follow", Number(state.follow)); }
    if (part) {
      words.set("map", state.map); words.set("view", state.view);
      if (state.at) words.set("at", state.at.vertex === undefined ? part.areas[state.at.area] : state.at.side + "-" + state.at.vertex);
      if (ready && cortex.low) words.set("turn", [cortex.nv.scene.renderAzimuth, cortex.nv.scene.renderElevation, cortex.zoom].map((v) => Number(v.toFixed(2))).join(","));
    }
    kept = "#" + words;
    history.replaceState(null, "", kept);
  }

  // What an address asks for; a name or number that there is not is passed over.
  function asked() {
    const words = new URLSearchParams(ownPage ? location.hash.slice(1) : ""), changes = {};
    const among = (key, list, name = key) => { const i = list.map(String).indexOf(words.get(key)); if (i >= 0) changes[name] = i; };
    const signal = words.get("signal"), layer = Number(words.get("layer") ?? NaN), place = words.get("at");
    if (signals.some((s) => s.key === signal)) changes.signal = signal;
    if (Number.isInteger(layer) && layer >= 0 && layer < layers.length) changes.layer = layer;
    among("step", meta.steps);
    if (meta.time) { among("time", meta.time.times); if (words.has("follow")) changes.follow = words.get("follow") === "1"; }
    if (!part) return { changes };
    if (maps().includes(words.get("map"))) changes.map = words.get("map");
    if (views().includes(words.get("view"))) changes.view = words.get("view");
    if (place !== null) {
      const vertex = /^([LR])-(\d+)$/.exec(place), area = part.areas.indexOf(place);
      if (area > 0) changes.at = { area };
      else if (vertex && part.sides.includes(vertex[1]) && Number(vertex[2]) < part.vertices[vertex[1]]) changes.at = { side: vertex[1], vertex: Number(vertex[2]) };
    }
    const turn = (words.get("turn") || "").split(",").map(Number);
    return { changes, turn: turn.length === 3 && turn.every(Number.isFinite) ? turn : null };
  }

  const maps = () => Object.keys(MAPS).filter((map) => (map !== "gain" || meta.gain) && (map !== "ceiling" || part.ceiling));
  const views = () => VIEWS.filter((view) => view !== "flat" || part.flat);

  function controls() {
    const on = (id, event, act) => { const element = byId(id); if (element) element.addEventListener(event, () => act(element)); };
    signals.forEach((s) => byId("x-signal").add(new Option(s.name, s.key)));
    byId("x-layer").max = layers.length - 1;
    on("x-signal", "change", (e) => set({ signal: e.value }));
    on("x-layer", "input", (e) => set({ layer: Number(e.value), map: state.map === "best" || state.map === "depth" ? "layer" : state.map }));
    if (meta.steps.length) { byId("x-step").max = meta.steps.length - 1; on("x-step", "input", (e) => set({ step: Number(e.value) })); }
    if (meta.time) {
      byId("x-time").max = meta.time.times.length - 1;
      on("x-time", "input", (e) => setTime(Number(e.value)));
      on("x-follow", "change", (e) => set({ follow: e.checked }));
      meta.time.groups.forEach((g, i) => byId("x-kind").add(new Option(g.kind || meta.time.modality, i)));
      byId("x-kind-box").hidden = meta.time.groups.length < 2;
      on("x-kind", "change", () => drawMoment());
      byId("x-head").addEventListener("pointermove", (event) => {
        const i = sensorAt(event.offsetX, event.offsetY);
        if (i !== null) byId("x-sensor").textContent = drawHead.values(i);
      });
    }
    if (!part) return;
    maps().forEach((map) => byId("x-map").add(new Option(MAPS[map], map)));
    on("x-map", "change", (e) => set({ map: e.value }));
    meta.areas.names.filter(Boolean).forEach((name) => byId("x-area").add(new Option(name, name)));
    on("x-area", "change", (e) => set({ at: e.value ? { area: part.areas.indexOf(e.value) } : null }));
    on("x-whole-area", "change", (e) => { state.whole = e.checked; });
    on("x-csv", "click", () => {
      if (shown && shown.rows) save(shown.rows.map((row) => row.map((c) => (c === null ? "" : typeof c === "string" && /[",=+@-]/.test(c) ? '"' + c.replace(/"/g, '""') + '"' : c)).join(",")).join("\n") + "\n", shown.title.replace(/[^A-Za-z0-9]+/g, "-") + ".csv");
    });
    views().forEach((view) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: view[0].toUpperCase() + view.slice(1) });
      button.dataset.view = view;
      button.addEventListener("click", () => { if (ready) cortex.view = ""; set({ view }); });
      byId("x-views").append(button);
    });
  }

  function pointer() {
    const canvas = byId("x-canvas");
    let down = null;
    canvas.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; });
    window.addEventListener("pointerup", (event) => {
      if (!down) return;
      const moved = Math.hypot(event.clientX - down[0], event.clientY - down[1]);
      down = null;
      if (moved > 4) { remember(); return; }
      const box = canvas.getBoundingClientRect(), found = cortex.pick(event.clientX - box.left, event.clientY - box.top);
      if (found) choose(found);
    });
    // A page scrolls over the cortex; with Ctrl, or two fingers on a touchpad, the cortex comes nearer.
    root.addEventListener("wheel", (event) => {
      if (event.target !== canvas) return;
      event.stopPropagation();
      if (event.ctrlKey || event.metaKey) { event.preventDefault(); cortex.move({ zoom: event.deltaY < 0 ? 1.1 : 1 / 1.1 }); }
    }, { capture: true, passive: false });
    // Double clicks and keys mean something else to NiiVue.
    ["dblclick", "contextmenu", "keydown", "keyup"].forEach((kind) => root.addEventListener(kind, (event) => {
      if (event.target === canvas) { event.stopPropagation(); if (kind === "keydown") keys(event); }
    }, true));
  }
  function choose(found) {
    const area = cortex.sides[found.side].area[found.vertex];
    return set({ at: state.whole && area ? { area } : found });
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    const step = (key, by, list) => ({ [key]: Math.max(0, Math.min(list.length - 1, state[key] + by)) });
    const cycle = (list, now) => list[(list.indexOf(now) + 1) % list.length], k = event.key;
    const layer = (by) => ({ ...step("layer", by, layers), map: state.map === "best" || state.map === "depth" ? "layer" : state.map });
    const turns = { a: { azimuth: -10 }, d: { azimuth: 10 }, w: { elevation: 10 }, x: { elevation: -10 }, "+": { zoom: 1.15 }, "=": { zoom: 1.15 }, "-": { zoom: 1 / 1.15 } };
    let done = true;
    if (k === "ArrowRight" || k === "ArrowLeft") set(layer(k === "ArrowRight" ? 1 : -1));
    else if ((k === "]" || k === "[") && meta.steps.length) set(step("step", k === "]" ? 1 : -1, meta.steps));
    else if ((k === "." || k === ",") && meta.time) setTime(step("time", k === "." ? 1 : -1, meta.time.times).time);
    else if (k === "s") set({ signal: cycle(signals.map((s) => s.key), state.signal) });
    else if (k === "m" && part) set({ map: cycle(maps(), state.map) });
    else if (k === "Escape") set({ at: null });
    else if (part && /^[1-7]$/.test(k) && views()[k - 1]) { if (ready) cortex.view = ""; set({ view: views()[k - 1] }); }
    else if (ready && turns[k]) { cortex.move(turns[k]); remember(); }
    else done = false;
    if (done) { event.preventDefault(); event.stopPropagation(); }
  }

  async function startCortex() {
    const say = (words) => { byId("x-message").textContent = words; }, canvas = byId("x-canvas");
    cortex = new Cortex(canvas, part);
    try {
      const [source] = await Promise.all([unpack("packed-niivue"), cortex.load()]);
      if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser offers no WebGL 2");
      const script = document.createElement("script");
      script.textContent = source;
      document.head.append(script);
      await cortex.start(window.niivue);
    } catch (error) {
      say(`The cortex cannot be drawn (${error.message}); the list of areas shows the same numbers.`);
      return;
    }
    if (!part.merged) cortex.outline(part.outlined); // on few vertices a line would be a blot
    ready = true;
    say("");
    pointer();
  }

  async function start() {
    meta = JSON.parse(await unpack("packed-explorer"));
    part = meta.cortex || null;
    ({ signals, layers } = part || meta.time);
    state.signal = signals[0].key;
    if (meta.steps.length) state.step = meta.steps.length - 1;
    if (part && meta.time) state.follow = true;
    if (meta.time) state.time = Math.max(0, meta.time.times.findIndex((t) => t >= 0.1));
    controls();
    const { changes, turn } = asked();
    Object.assign(state, changes);
    show();
    drawMoment();
    if (part) {
      if (!state.at || state.at.vertex === undefined) drawProfile();
      await startCortex();
    }
    await set({});
    if (turn && ready) {
      Object.assign(cortex.nv.scene, { renderAzimuth: turn[0], renderElevation: turn[1] });
      cortex.zoom = turn[2];
      cortex.move({});
      remember();
    }
    (ownPage ? document : root).addEventListener("keydown", keys);
    if (ownPage) window.addEventListener("hashchange", () => { if (location.hash !== kept) { if (ready) cortex.view = ""; set(asked().changes); } });
    let width = root.clientWidth;
    new ResizeObserver(() => { if (root.clientWidth !== width) { width = root.clientWidth; drawProfile(); drawMoment(); } }).observe(root);
    document.documentElement.dataset.explorer = "ready";
  }

  window.brainmap.explorer = { state, set, choose, cortex: () => cortex, profile: () => shown };
  function begin() {
    if (!modern) { root.textContent = "This browser is too old for the explorer; the figures of the report show the same."; return; }
    requestAnimationFrame(() => setTimeout(() => start().catch((error) => { root.textContent = `The explorer could not start (${error.message}).`; })));
  }
  const box = root.closest("details"); // inside a report it starts when it is opened
  if (box && !box.open) box.addEventListener("toggle", begin, { once: true });
  else begin();
})();
