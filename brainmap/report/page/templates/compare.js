// The comparison page: sorts and filters the table, draws curves and profiles of the chosen studies.
(function () {
  "use strict";
  const { byId, unpack, loadPlotly, say, save, modern } = window.brainmap;
  const FONT = { family: '"Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif', size: 13, color: "#1b2430" };

  // -- table
  const table = byId("studies"), body = table.tBodies[0];
  function value(row, column) {
    const text = row.cells[column].dataset.sort, number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  }
  table.querySelectorAll("th button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.closest("th"), column = Number(button.dataset.column);
      const numbers = [...body.rows].some((row) => typeof value(row, column) === "number");
      const before = head.getAttribute("aria-sort"); // the first press: highest numbers first, words from A
      const down = before === "none" ? numbers : before === "ascending";
      table.querySelectorAll("th").forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = (a, b) => {
        const x = value(a, column), y = value(b, column);
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // what is not a number comes last
        const order = x < y ? -1 : x > y ? 1 : 0;
        return down ? -order : order;
      };
      [...body.rows].sort(compare).forEach((row) => body.append(row));
    });
  });
  byId("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    [...body.rows].forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    });
    byId("shown").textContent = words.length ? shown + " of " + body.rows.length + " rows" : "";
  });

  // -- curves and profiles
  const ALL = "mean of all"; // subjects, or areas
  const mean = (numbers) => {
    const known = numbers.filter((x) => x !== null);
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
  };
  function unique(lists) { return [...new Set(lists.flat())]; }
  function fill(select, entries) { entries.forEach(([value, text]) => select.add(new Option(text, value))); }
  const plain = (x) => (/^\s*[=+\-@]/.test(x) && isNaN(x) ? "'" + x : x);  // no spreadsheet takes it for a formula
  const quote = (x) => (typeof x === "string" ? '"' + plain(x).replace(/"/g, '""') + '"' : x === null ? "" : x);

  function chooser(id, studies, draw) {
    studies.forEach((study, i) => {
      const label = document.createElement("label"), box = document.createElement("input"), chip = document.createElement("i");
      box.type = "checkbox"; box.value = i; box.checked = i < 8;
      chip.style.background = study.color;
      label.append(box, chip, study.name);
      box.addEventListener("change", draw);
      byId(id).append(label);
    });
  }
  const chosen = (id) => [...byId(id).querySelectorAll("input:checked")].map((box) => Number(box.value));

  function view(kind, studies, traces, axis) {
    const have = studies.filter((study) => study[kind]);
    const plot = byId(kind + "-plot");
    if (!have.length || !plot) return;  // the page has no such section
    const signals = new Map();
    have.forEach((s) => s[kind].signals.forEach((name, i) => signals.set(name, s[kind].names[i])));
    fill(byId(kind + "-signal"), [...signals]);
    fill(byId(kind + "-subject"), [["", ALL], ...unique(have.map((s) => s[kind].subjects)).map((name) => [name, name])]);
    let current = [];
    async function draw() {
      const Plotly = await loadPlotly();
      const signal = byId(kind + "-signal").value, subject = byId(kind + "-subject").value;
      current = chosen(kind + "-studies").map((i) => have[i]).map((study) => {
        const part = study[kind], number = part.signals.indexOf(signal);
        if (number < 0 || (subject && !part.subjects.includes(subject))) return null;
        const people = subject ? [part.r[number][part.subjects.indexOf(subject)]] : part.r[number];
        return { study, signal, subject: subject || ALL, ...traces(part, people) };
      }).filter(Boolean);
      const lines = current.map(({ study, x, y, note }) => ({
        x, y, name: study.name, mode: kind === "meg" ? "lines" : "lines+markers", line: { color: study.color, width: 2 },
        hovertemplate: study.name + (note ? ", " + note : "") + ": r = %{y:.3f} at %{x}<extra></extra>",
      }));
      const stimulus = kind === "meg" && have[0].stimulus;
      const layout = {
        font: FONT, showlegend: false, margin: { l: 62, r: 18, t: 10, b: 48 }, hovermode: "closest",
        shapes: stimulus ? [{ type: "rect", x0: stimulus[0], x1: stimulus[1], yref: "paper", y0: 0, y1: 1, fillcolor: "#e9edf2", line: { width: 0 }, layer: "below" }] : [],
        xaxis: { title: { text: axis }, gridcolor: "#eef1f4", zeroline: false },
        yaxis: { title: { text: "Encoding score r" }, gridcolor: "#eef1f4", zerolinecolor: "#9aa5b1" },
      };
      if (plot.firstChild && plot.firstChild.className === "message") plot.replaceChildren();
      Plotly.react(plot, lines, layout, { responsive: true, displayModeBar: false });
    }
    chooser(kind + "-studies", have, draw);
    [kind + "-signal", kind + "-subject"].forEach((id) => byId(id).addEventListener("change", draw));
    byId(kind + "-csv").addEventListener("click", () => {
      const rows = current.flatMap(({ study, signal, subject, y, columns }) =>
        y.map((r, i) => [study.name, signal, subject, ...Object.values(columns).map((list) => list[i]), r].map(quote).join(",")));
      const head = ["study", "signal", "subject", ...Object.keys(current.length ? current[0].columns : {}), "r"].join(",");
      const word = kind === "meg" ? have[0].measured.toLowerCase() : kind;
      save(head + "\n" + rows.join("\n") + "\n", word + "-" + byId(kind + "-signal").value + ".csv");
    });
    return draw;
  }

  async function start() {
    const studies = JSON.parse(await unpack("packed-studies")).studies;
    const slider = byId("meg-depth");
    const nearest = (depths, wanted) => depths.reduce((best, d, i) => (Math.abs(d - wanted) < Math.abs(depths[best] - wanted) ? i : best), 0);
    const meg = view("meg", studies, (part, people) => {
      const layer = nearest(part.depths, Number(slider.value));
      const y = part.axis.map((_, t) => mean(people.map((one) => one[layer][t])));
      const columns = { layer: y.map(() => part.layers[layer]), depth: y.map(() => part.depths[layer]), time: part.axis };
      return { x: part.axis, y, columns, note: part.layers[layer] };
    }, "Time after image onset (s)");
    if (meg) slider.addEventListener("input", () => { byId("meg-depth-name").textContent = Number(slider.value).toFixed(2); meg(); });
    const area = byId("fmri-area");
    if (area) fill(area, [["", ALL], ...unique(studies.filter((s) => s.fmri).map((s) => s.fmri.axis)).filter(Boolean).map((name) => [name, name])]);
    const fmri = view("fmri", studies, (part, people) => {
      const places = area.value ? [part.axis.indexOf(area.value)] : part.axis.map((_, i) => i);
      const y = part.depths.map((_, layer) => mean(people.flatMap((one) => places.filter((p) => p >= 0).map((p) => one[layer][p]))));
      const columns = { area: y.map(() => area.value || ALL), layer: part.layers, depth: part.depths };
      return { x: part.depths, y, columns, note: area.value };
    }, "Layer depth");
    if (fmri) area.addEventListener("change", fmri);
    if (meg) await meg();
    if (fmri) await fmri();
  }

  const plots = [byId("meg-plot"), byId("fmri-plot")].filter(Boolean);
  if (!modern) {
    plots.forEach((plot) => say(plot, "This browser is too old for the interactive view; the table and figures show the same."));
  } else {
    plots.forEach((plot) => say(plot, "Loading …"));
    start().catch((error) => plots.forEach((plot) => say(plot, "The interactive view could not start (" + error.message + ").")));
  }
})();
