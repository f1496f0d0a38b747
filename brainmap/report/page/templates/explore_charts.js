// Charts as SVG and heads as canvas: profiles over layers, curves over time, sensors seen from above.
(function () {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  function add(parent, tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  function ticks(low, high, about) {
    const raw = (high - low) / about, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw), found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(Number((i * step).toPrecision(6)));
    return found;
  }
  const text = (value) => String(value).replace("-", "−");

  // Axes in a box: returns the functions from numbers to pixels, and the group to draw in.
  function axes(svg, { x, y, xTicks, yLabel, xLabel, height }) {
    const width = Math.max(svg.parentElement.clientWidth, 200);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    const left = 50, right = width - 12, top = 10, bottom = height - 40;
    const px = (value) => left + ((value - x[0]) / (x[1] - x[0] || 1)) * (right - left);
    const py = (value) => bottom - ((value - y[0]) / (y[1] - y[0] || 1)) * (bottom - top);
    ticks(y[0], y[1], 5).forEach((value) => {
      add(svg, "line", { x1: left, x2: right, y1: py(value), y2: py(value), class: value === 0 ? "zero" : "grid" });
      add(svg, "text", { x: left - 7, y: py(value) + 4, "text-anchor": "end" }, text(value));
    });
    xTicks.forEach(([value, label]) => add(svg, "text", { x: px(value), y: bottom + 16, "text-anchor": "middle" }, label));
    add(svg, "text", { x: (left + right) / 2, y: height - 5, "text-anchor": "middle", class: "label" }, xLabel);
    const middle = (top + bottom) / 2;
    add(svg, "text", { x: 13, y: middle, "text-anchor": "middle", class: "label", transform: `rotate(-90 13 ${middle})` }, yLabel);
    return { px, py, left, right, top, bottom, width };
  }

  // Pieces of a line between missing values.
  function path(points) {
    let d = "", pen = false;
    points.forEach((point) => {
      if (!point) { pen = false; return; }
      d += (pen ? "L" : "M") + point[0].toFixed(1) + " " + point[1].toFixed(1);
      pen = true;
    });
    return d;
  }

  function band(svg, x, mean, error, px, py, color) {
    const known = mean.map((value, i) => (value === null || error[i] === null ? null : i)).filter((i) => i !== null);
    if (known.length < 2) return;
    const up = known.map((i) => [px(x[i]), py(mean[i] + error[i])]), down = known.map((i) => [px(x[i]), py(mean[i] - error[i])]);
    add(svg, "path", { d: path([...up, ...down.reverse()]) + "Z", fill: color, opacity: 0.18 });
  }

  const reach = (values) => values.filter((value) => value !== null && Number.isFinite(value));

  // series: [{ name, color, mean, error, above }]; a filled dot is above chance.
  function profile(svg, { layers, series, ceiling, current, choose }) {
    const every = series.flatMap((s) => s.mean.flatMap((m, i) => (m === null ? [] : [m - (s.error ? s.error[i] || 0 : 0), m + (s.error ? s.error[i] || 0 : 0)])));
    const known = reach([...every, ceiling]);
    const y = [Math.min(0, ...known), Math.max(0.01, ...known) * 1.05], n = layers.length;
    const every2 = Math.ceil(n / Math.max(2, svg.parentElement.clientWidth / 60));
    const xTicks = layers.map((name, i) => [i, name]).filter((_, i) => i % every2 === 0);
    const box = axes(svg, { x: n > 1 ? [-0.3, n - 0.7] : [-0.5, 0.5], y, xTicks, yLabel: "Encoding score r", xLabel: "Layer", height: 236 });
    add(svg, "line", { x1: box.px(current), x2: box.px(current), y1: box.top, y2: box.bottom, class: "cursor" });
    if (ceiling !== null && ceiling !== undefined) {
      add(svg, "line", { x1: box.left, x2: box.right, y1: box.py(ceiling), y2: box.py(ceiling), class: "ceiling" });
      add(svg, "text", { x: box.right, y: box.py(ceiling) - 4, "text-anchor": "end" }, "noise ceiling");
    }
    const x = layers.map((_, i) => i);
    series.forEach((s) => {
      if (s.error) band(svg, x, s.mean, s.error, box.px, box.py, s.color);
      add(svg, "path", { d: path(s.mean.map((m, i) => (m === null ? null : [box.px(i), box.py(m)]))), stroke: s.color, class: "line" });
      s.mean.forEach((m, i) => {
        if (m !== null) add(svg, "circle", { cx: box.px(i), cy: box.py(m), r: i === current ? 5 : 3.6, stroke: s.color, fill: s.above && s.above[i] ? s.color : "#fff", "stroke-width": 1.6 });
      });
    });
    svg.onclick = (event) => {
      const at = event.clientX - svg.getBoundingClientRect().left;
      choose(x.reduce((best, i) => (Math.abs(box.px(i) - at) < Math.abs(box.px(best) - at) ? i : best), 0));
    };
  }

  // curves: one array a layer; the current one is thick, with its error; marks are the moments above chance.
  function curves(svg, { times, curves: lines, errors, above, colors, current, time, stimulus, label, choose }) {
    const known = reach(lines.flat());
    const y = [Math.min(0, ...known), Math.max(0.001, ...known) * 1.08], x = [times[0], times[times.length - 1]];
    const box = axes(svg, { x, y, xTicks: ticks(x[0], x[1], Math.max(3, svg.parentElement.clientWidth / 110)).map((t) => [t, text(t)]), yLabel: label, xLabel: "Time after image onset (s)", height: 262 });
    if (stimulus) {
      const from = Math.max(x[0], stimulus[0]), to = Math.min(x[1], stimulus[1]);
      svg.prepend(add(svg, "rect", { x: box.px(from), y: box.top, width: Math.max(0, box.px(to) - box.px(from)), height: box.bottom - box.top, class: "stimulus" }));
    }
    lines.forEach((line, layer) => {
      if (layer !== current) add(svg, "path", { d: path(line.map((r, i) => (r === null ? null : [box.px(times[i]), box.py(r)]))), stroke: colors[layer], class: "line thin" });
    });
    if (errors) band(svg, times, lines[current], errors[current], box.px, box.py, colors[current]);
    add(svg, "path", { d: path(lines[current].map((r, i) => (r === null ? null : [box.px(times[i]), box.py(r)]))), stroke: colors[current], class: "line thick" });
    if (above) {
      const half = times.length > 1 ? (box.px(times[1]) - box.px(times[0])) / 2 : 2;
      above[current].forEach((on, i) => {
        if (on) add(svg, "rect", { x: box.px(times[i]) - half, y: box.bottom - 5, width: 2 * half + 0.4, height: 4, fill: colors[current] });
      });
    }
    add(svg, "line", { x1: box.px(times[time]), x2: box.px(times[time]), y1: box.top, y2: box.bottom, class: "cursor" });
    svg.onpointermove = svg.onpointerdown = (event) => {
      const at = event.clientX - svg.getBoundingClientRect().left;
      const wanted = x[0] + ((at - box.left) / (box.right - box.left)) * (x[1] - x[0]);
      choose(times.reduce((best, t, i) => (Math.abs(t - wanted) < Math.abs(times[best] - wanted) ? i : best), 0));
    };
  }

  // Every disc is one place with sensors; values null are left white.
  function head(canvas, { x, y, values, color }) {
    const size = canvas.clientWidth, scale = window.devicePixelRatio || 1, draw = canvas.getContext("2d");
    canvas.width = canvas.height = Math.round(size * scale);
    draw.scale(scale, scale);
    const reachOut = Math.max(1, ...x.map((v, i) => Math.hypot(v, y[i]))), r = (0.44 * size) / reachOut, middle = size / 2;
    draw.strokeStyle = "#5b6878";
    draw.lineWidth = 1.4;
    draw.beginPath();
    draw.arc(middle, middle, r, 0, 2 * Math.PI);
    draw.moveTo(middle - 0.1 * r, middle - 0.995 * r);
    draw.lineTo(middle, middle - 1.1 * r);
    draw.lineTo(middle + 0.1 * r, middle - 0.995 * r);
    draw.stroke();
    const disc = Math.max(2.5, Math.min(0.085 * size, (0.92 * r) / Math.sqrt(x.length)));
    x.forEach((v, i) => {
      draw.beginPath();
      draw.arc(middle + r * v, middle - r * y[i], disc, 0, 2 * Math.PI);
      draw.fillStyle = values[i] === null ? "#fff" : color(values[i]);
      draw.fill();
      draw.lineWidth = 0.5;
      draw.stroke();
    });
    return (px, py) => { // the sensor under the pointer
      const found = x.map((v, i) => [Math.hypot(middle + r * v - px, middle - r * y[i] - py), i]).sort((a, b) => a[0] - b[0])[0];
      return found && found[0] <= 1.4 * disc ? found[1] : null;
    };
  }

  window.brainmap.charts = { profile, curves, head };
})();
