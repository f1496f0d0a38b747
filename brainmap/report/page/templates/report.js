// Unpacks Plotly and the data of the two "explore" boxes when they are opened. Without it the report is complete.
(function () {
  "use strict";
  const { byId, unpack, loadPlotly, say, modern } = window.brainmap;
  const FONT = { family: '"Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif', size: 13, color: "#1b2430" };

  function numbers(text, Type) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Type(bytes.buffer);
  }

  function onOpen(id, plotId, start) {
    const box = byId(id);
    if (!box) return;
    let started = false;
    box.addEventListener("toggle", () => {
      if (!box.open || started) return;
      started = true;
      const plot = byId(plotId);
      if (!modern) {
        say(plot, "This browser is too old for the interactive view; the figures above show the same.");
        return;
      }
      say(plot, "Loading …");
      start(plot).catch((error) => say(plot, "The interactive view could not start (" + error.message + "); the figures above show the same."));
    });
  }

  function options(select, names) {
    names.forEach((name, i) => select.add(new Option(name, i)));
  }

  async function startCurves(plot) {
    const [Plotly, text] = await Promise.all([loadPlotly(), unpack("packed-meg")]);
    const data = JSON.parse(text);
    const select = byId("meg-signal"), slider = byId("meg-layer"), name = byId("meg-name");
    options(select, data.signals.map((s) => s.name));
    slider.max = data.layers.length;
    const shapes = [{ type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: "#5b6878", width: 1, dash: "dash" } }];
    if (data.stimulus) {
      shapes.push({ type: "rect", x0: data.stimulus[0], x1: data.stimulus[1], yref: "paper", y0: 0, y1: 1, fillcolor: "#e9edf2", line: { width: 0 }, layer: "below" });
    }
    function draw() {
      const signal = data.signals[+select.value], chosen = +slider.value - 1;
      name.textContent = chosen < 0 ? "all layers" : data.layers[chosen];
      const traces = signal.mean.map((mean, i) => ({
        x: data.time, y: mean, name: data.layers[i], mode: "lines", customdata: signal.sem[i],
        line: { color: data.colors[i], width: chosen === i ? 3 : 1.6 },
        opacity: chosen < 0 || chosen === i ? 1 : 0.18,
        hoverinfo: chosen < 0 || chosen === i ? undefined : "skip",
        hovertemplate: chosen < 0 || chosen === i ? data.layers[i] + ": r = %{y:.3f} ± %{customdata:.3f} at %{x:.2f} s<extra></extra>" : undefined,
      }));
      const layout = {
        font: FONT, showlegend: false, margin: { l: 62, r: 18, t: 10, b: 48 }, shapes, hovermode: "closest",
        xaxis: { title: { text: "Time after image onset (s)" }, gridcolor: "#eef1f4", zeroline: false },
        yaxis: { title: { text: "Encoding score r" }, gridcolor: "#eef1f4", zerolinecolor: "#9aa5b1" },
      };
      Plotly.react(plot, traces, layout, { responsive: true, displayModeBar: false });
    }
    plot.replaceChildren();
    draw();
    select.addEventListener("change", draw);
    slider.addEventListener("input", draw);
  }

  // Directions of the viewer: x to the right, y to the front, z up.
  const VIEWS = {
    Lateral: [-1, 0, 0.12], Medial: [1, 0, 0.12], Left: [-1, 0, 0.12], Right: [1, 0, 0.12],
    Ventral: [-0.35, 0, -1], Dorsal: [-0.35, 0, 1], Posterior: [-0.45, -1, 0.1],
  };

  function hasWebGL() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function geometry(side, shift) {
    const xyz = numbers(side.xyz, Int16Array), faces = numbers(side.faces, Uint16Array);
    const n = xyz.length / 3, m = faces.length / 3;
    const part = (source, count, offset, scale, add) => Array.from({ length: count }, (_, k) => source[3 * k + offset] * scale + add);
    return {
      type: "mesh3d", x: part(xyz, n, 0, 0.01, shift), y: part(xyz, n, 1, 0.01, 0), z: part(xyz, n, 2, 0.01, 0),
      i: part(faces, m, 0, 1, 0), j: part(faces, m, 1, 1, 0), k: part(faces, m, 2, 1, 0),
      hovertemplate: "%{text}<extra></extra>", flatshading: false, showscale: false,
      lighting: { ambient: 0.93, diffuse: 0.26, specular: 0.03, roughness: 0.9, fresnel: 0.02 },
      lightposition: { x: 0, y: 0, z: 100000 },
    };
  }

  function paint(side, map, areas) {
    const grey = numbers(side.grey, Uint8Array), area = numbers(side.area, Uint16Array);
    const values = map.values[side.side] ? numbers(map.values[side.side], Uint8Array) : new Uint8Array(grey.length).fill(255);
    const colors = new Array(grey.length), text = new Array(grey.length);
    for (let v = 0; v < grey.length; v += 1) {
      const name = areas[area[v]] || "no area";
      if (values[v] === 255) {
        colors[v] = "rgb(" + grey[v] + "," + grey[v] + "," + grey[v] + ")";
        text[v] = name;
      } else {
        colors[v] = map.colors[values[v]];
        text[v] = name + ": " + (map.low + (values[v] / 254) * (map.high - map.low)).toFixed(3);
      }
    }
    return { vertexcolor: colors, text };
  }

  async function startCortex(plot) {
    if (!hasWebGL()) {
      say(plot, "This browser offers no WebGL, so the cortex cannot be turned; the figures above show the same maps.");
      return;
    }
    const [Plotly, text] = await Promise.all([loadPlotly(), unpack("packed-cortex")]);
    const data = JSON.parse(text), select = byId("cortex-map");
    options(select, data.maps.map((m) => m.name));
    const single = data.sides.length === 1;
    const meshes = data.sides.map((side) => geometry(side, single ? 0 : side.side === "L" ? -42 : 42));
    const outward = single && data.sides[0].side === "R" ? -1 : 1;
    const narrow = plot.clientWidth < 520;
    const camera = (view) => {
      const [x, y, z] = VIEWS[view], far = narrow ? 2.2 : single ? 1.3 : 1.5;
      return { eye: { x: far * x * outward, y: far * y, z: far * z }, up: { x: 0, y: 0, z: 1 } };
    };
    // One unit of the scene is the length of a hemisphere, so that one and two hemispheres look equally large.
    const extent = ["x", "y", "z"].map((axis) => {
      const all = meshes.flatMap((mesh) => mesh[axis].filter((_, v) => v % 50 === 0));
      return (Math.max(...all) - Math.min(...all)) / 150;
    });
    const ratio = { x: extent[0], y: extent[1], z: extent[2] };
    const hidden = { visible: false, showspikes: false };
    const layout = {
      font: FONT, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "#fff", uirevision: "keep",
      scene: { xaxis: hidden, yaxis: hidden, zaxis: hidden, aspectmode: "manual", aspectratio: ratio, camera: camera(single ? "Lateral" : "Left"), dragmode: "orbit" },
    };
    const current = () => data.maps[+select.value];
    const traces = () => meshes.map((mesh, i) => Object.assign({}, mesh, paint(data.sides[i], current(), data.areas)));
    function scale() {
      const map = current();
      byId("scale-low").textContent = map.label + "  " + map.low;
      byId("scale-high").textContent = map.high;
      byId("scale-bar").style.background = "linear-gradient(90deg," + map.colors.filter((_, i) => i % 16 === 0).join(",") + ")";
    }
    plot.replaceChildren();
    await Plotly.newPlot(plot, traces(), layout, { responsive: true, displayModeBar: false });
    scale();
    select.addEventListener("change", () => { Plotly.react(plot, traces(), layout); scale(); });
    [...(single ? ["Lateral", "Medial"] : ["Left", "Right"]), "Ventral", "Dorsal", "Posterior"].forEach((view) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = view;
      button.addEventListener("click", () => Plotly.relayout(plot, { "scene.camera": camera(view) }));
      byId("cortex-views").append(button);
    });
  }

  onOpen("explore-meg", "meg-plot", startCurves);
  onOpen("explore-cortex", "cortex-plot", startCortex);
})();
