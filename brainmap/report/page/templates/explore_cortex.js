// The cortex, drawn by NiiVue: one mesh a hemisphere with a colour for every vertex; views, borders, picking.
(function () {
  "use strict";
  const { arrays } = window.brainmap;

  // Light from above the viewer; values keep most of their own colour, so that they compare with the colour bar.
  const SHADER = `#version 300 es
precision highp int;
precision highp float;
uniform float opacity;
in vec4 vClr;
in vec3 vN;
out vec4 color;
void main() {
  vec3 n = normalize(vN);
  float light = 0.42 + 0.38 * max(dot(n, normalize(vec3(-0.25, 0.45, -0.86))), 0.0) + 0.2 * abs(n.z);
  color = vec4(vClr.rgb * (0.74 + 0.27 * light), opacity);
}`;

  // Rows: directions to the right, up, and towards the viewer. x is right, y front, z up; out is away from the middle.
  const turned = (out) => ({
    lateral: [[0, out, 0], [0, 0, 1], [out, 0, 0]],
    medial: [[0, -out, 0], [0, 0, 1], [-out, 0, 0]],
    ventral: [[0, out, 0], [out, 0, 0], [0, 0, -1]],
    dorsal: [[0, out, 0], [-out, 0, 0], [0, 0, 1]],
    posterior: [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    whole: [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
  });
  const GAP = 8; // mm between hemispheres

  class Cortex {
    constructor(canvas, meta) {
      this.canvas = canvas;
      this.meta = meta;
      this.view = "lateral";
      this.sides = {};
    }

    async load() {
      const { meta } = this;
      await Promise.all(meta.sides.map(async (side) => {
        const [xyz, faces, grey, area, place, own] = await Promise.all([
          arrays.signed("xyz-" + side), arrays.summed("faces-" + side), arrays.whole("grey-" + side, 1),
          arrays.whole("area-" + side, 2), arrays.summed("place-" + side), arrays.bits("own-" + side),
        ]);
        const n = grey.length;
        const xyzMm = new Float32Array(3 * n);
        for (let i = 0; i < 3 * n; i += 1) xyzMm[i] = xyz[i] * meta.xyzStep;
        this.sides[side] = { side, n, xyz: xyzMm, faces: new Uint32Array(faces), grey, area, place, own, border: null };
      }));
    }

    async flat(side) {
      const part = this.sides[side];
      if (!part.flat) {
        const [plane, faces] = await Promise.all([arrays.signed("flat-" + side), arrays.summed("flatfaces-" + side)]);
        part.flat = plane;
        part.flatFaces = new Uint32Array(faces);
      }
      return part;
    }

    async start(niivue) {
      const nv = new niivue.Niivue({
        backColor: [1, 1, 1, 1], show3Dcrosshair: false, isOrientCube: false, logLevel: "error", loadingText: "",
        dragAndDropEnabled: false, viewModeHotKey: "", clipPlaneHotKey: "", dragMode: niivue.DRAG_MODE.none,
      });
      nv.meshShaders = [{ Name: "cortex", Frag: SHADER }];
      this.nv = nv;
      const box = this.canvas.parentElement;
      await nv.attachToCanvas(this.canvas, navigator.hardwareConcurrency > 2);
      box.style.backgroundColor = "";
      for (const part of Object.values(this.sides)) {
        part.colors = new Uint8Array(4 * part.n).fill(255);
        // One triangle for now: show() gives a mesh its points, and paint() uploads them once, with their colours.
        part.mesh = new niivue.NVMesh(new Float32Array(9), new Uint32Array([0, 1, 2]), part.side, part.colors, 1, true, nv.gl);
        nv.meshes.push(part.mesh);
      }
      new ResizeObserver(() => { this.fit(); nv.drawScene(); }).observe(box);
    }

    // Puts the hemispheres side by side (in a tall box one above the other) as a view shows them.
    async show(view) {
      const parts = [];
      for (const side of this.meta.sides) parts.push(view === "flat" ? await this.flat(side) : this.sides[side]);
      const tall = this.canvas.clientWidth < 1.1 * this.canvas.clientHeight && view !== "whole";
      const placed = parts.map((part) => this.turn(part, view));
      const wide = placed.map((p) => p.size[0]), high = placed.map((p) => p.size[2]);
      let x = 0, z = 0;
      placed.forEach((p, i) => { // left to right, or top to bottom, each around its own middle
        const dx = tall ? 0 : x + wide[i] / 2, dz = tall ? -(z + high[i] / 2) : 0;
        for (let v = 0; v < p.points.length; v += 3) { p.points[v] += dx; p.points[v + 2] += dz; }
        x += wide[i] + GAP;
        z += high[i] + GAP;
      });
      this.low = [Infinity, Infinity, Infinity];
      this.high = [-Infinity, -Infinity, -Infinity];
      parts.forEach((part, i) => {
        const mesh = part.mesh, points = placed[i].points;
        mesh.pts = points;
        mesh.tris = view === "flat" ? part.flatFaces : part.faces;
        const low = [0, 1, 2].map((a) => placed[i].low[a]), high = [0, 1, 2].map((a) => placed[i].high[a]);
        const shift = [points[0] - placed[i].first[0], 0, points[2] - placed[i].first[2]];
        mesh.extentsMin = low.map((v, a) => v + shift[a]);
        mesh.extentsMax = high.map((v, a) => v + shift[a]);
        mesh.furthestVertexFromOrigin = Math.hypot(...mesh.extentsMax.map((v, a) => Math.max(Math.abs(v), Math.abs(mesh.extentsMin[a]))));
        for (let a = 0; a < 3; a += 1) {
          this.low[a] = Math.min(this.low[a], mesh.extentsMin[a]);
          this.high[a] = Math.max(this.high[a], mesh.extentsMax[a]);
        }
      });
      this.view = view;
      this.zoom = 1;
      this.nv.scene.renderAzimuth = view === "whole" ? (this.meta.sides[0] === "L" ? 50 : 310) : 0;
      this.nv.scene.renderElevation = view === "whole" ? 15 : 0;
      this.fit();
    }

    // Points of a hemisphere as a view sees them: x to the right, z up, −y towards the viewer; in the middle.
    turn(part, view) {
      const n = part.n, points = new Float32Array(3 * n);
      const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
      if (view === "flat") {
        for (let v = 0; v < n; v += 1) {
          points[3 * v] = part.flat[2 * v] * this.meta.flatStep;
          points[3 * v + 2] = part.flat[2 * v + 1] * this.meta.flatStep;
        }
      } else {
        const [right, up, near] = turned(part.side === "L" ? -1 : 1)[view];
        for (let v = 0; v < n; v += 1) {
          const x = part.xyz[3 * v], y = part.xyz[3 * v + 1], z = part.xyz[3 * v + 2];
          points[3 * v] = right[0] * x + right[1] * y + right[2] * z;
          points[3 * v + 1] = -(near[0] * x + near[1] * y + near[2] * z);
          points[3 * v + 2] = up[0] * x + up[1] * y + up[2] * z;
        }
      }
      const faces = view === "flat" ? part.flatFaces : part.faces;
      for (let i = 0; i < faces.length; i += 1) {
        const v = 3 * faces[i];
        for (let a = 0; a < 3; a += 1) {
          const value = points[v + a];
          if (value < low[a]) low[a] = value;
          if (value > high[a]) high[a] = value;
        }
      }
      const middle = low.map((value, a) => (value + high[a]) / 2);
      for (let i = 0; i < points.length; i += 1) points[i] -= middle[i % 3];
      const size = low.map((value, a) => high[a] - value);
      return { points, size, low: size.map((s) => -s / 2), high: size.map((s) => s / 2), first: [points[0], 0, points[2]] };
    }

    // NiiVue shows ±0.8 × half the diagonal of what there is; this makes the view fill the box instead.
    fit() {
      if (!this.low) return;
      const size = this.low.map((value, a) => this.high[a] - value), half = 0.4 * Math.hypot(...size);
      const ratio = this.canvas.clientWidth / this.canvas.clientHeight || 1;
      const wide = (this.view === "whole" ? Math.max(size[0], size[1]) : size[0]) / 2, high = size[2] / 2;
      const needed = 1.04 * (ratio < 1 ? Math.max(wide, high * ratio) : Math.max(high, wide / ratio));
      this.nv.scene.volScaleMultiplier = (this.zoom * half) / needed;
    }

    // color(place, part, vertex): [r, g, b], or null for grey.
    paint(color, marked) {
      for (const part of Object.values(this.sides)) {
        const { colors, grey, place, border } = part;
        for (let v = 0; v < part.n; v += 1) {
          const i = 4 * v, rgb = place[v] > 0 ? color(place[v] - 1, part, v) : null;
          const dark = border && border[v] ? 0.45 : 1;
          if (rgb) { colors[i] = rgb[0] * dark; colors[i + 1] = rgb[1] * dark; colors[i + 2] = rgb[2] * dark; }
          else colors[i] = colors[i + 1] = colors[i + 2] = grey[v] * dark;
          colors[i + 3] = 255;
        }
        if (marked && marked.side === part.side) this.mark(part, marked);
        part.mesh.rgba255 = colors;
        part.mesh.updateMesh(this.nv.gl);
      }
      this.nv.drawScene();
    }

    // A dark ring around a vertex, or the border of an area.
    mark(part, { vertex, area }) {
      const set = (v) => { part.colors[4 * v] = 17; part.colors[4 * v + 1] = 17; part.colors[4 * v + 2] = 17; };
      if (area !== undefined) {
        this.borders(part, (a, b) => a === area || b === area).forEach((on, v) => { if (on) set(v); });
        return;
      }
      const p = part.xyz, edge = this.edge(part), near = Math.max(1.5, 1.2 * edge), far = Math.max(3, 2.4 * edge);
      for (let v = 0; v < part.n; v += 1) {
        const d = Math.hypot(p[3 * v] - p[3 * vertex], p[3 * v + 1] - p[3 * vertex + 1], p[3 * v + 2] - p[3 * vertex + 2]);
        if (d > near && d < far) set(v);
      }
    }

    edge(part) {
      const f = part.faces, p = part.xyz, lengths = [];
      for (let i = 0; i < f.length; i += 3 * Math.ceil(f.length / 3000)) {
        lengths.push(Math.hypot(p[3 * f[i]] - p[3 * f[i + 1]], p[3 * f[i] + 1] - p[3 * f[i + 1] + 1], p[3 * f[i] + 2] - p[3 * f[i + 1] + 2]));
      }
      return lengths.sort((a, b) => a - b)[lengths.length >> 1];
    }

    borders(part, wanted) {
      const on = new Uint8Array(part.n), { faces, area } = part;
      for (let i = 0; i < faces.length; i += 3) {
        for (let k = 0; k < 3; k += 1) {
          const v = faces[i + k], w = faces[i + ((k + 1) % 3)];
          if (area[v] !== area[w] && wanted(area[v], area[w])) { on[v] = 1; on[w] = 1; }
        }
      }
      return on;
    }

    outline(names) {
      const numbers = new Set(names.map((name) => this.meta.areas.indexOf(name)).filter((i) => i > 0));
      for (const part of Object.values(this.sides)) {
        part.border = numbers.size ? this.borders(part, (a, b) => numbers.has(a) || numbers.has(b)) : null;
      }
    }

    matrix() {
      const { nv, canvas } = this;
      nv.setPivot3D();
      return nv.calculateMvpMatrix(null, [0, 0, canvas.width, canvas.height], nv.scene.renderAzimuth, nv.scene.renderElevation)[0];
    }

    // Where a vertex is on the canvas, in pixels of the page, and how far away.
    project(side, vertex, m = this.matrix()) {
      const p = this.sides[side].mesh.pts, x = p[3 * vertex], y = p[3 * vertex + 1], z = p[3 * vertex + 2];
      return [
        (0.5 + (m[0] * x + m[4] * y + m[8] * z + m[12]) / 2) * this.canvas.clientWidth,
        (0.5 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / 2) * this.canvas.clientHeight,
        m[2] * x + m[6] * y + m[10] * z + m[14],
      ];
    }

    projected(part, m) {
      const key = [...m, this.canvas.clientWidth, this.canvas.clientHeight, this.view].join();
      if (part.seen && part.seen.key === key) return part.seen.axes;
      const axes = [0, 1, 2].map(() => new Float32Array(part.n));
      for (let v = 0; v < part.n; v += 1) {
        const at = this.project(part.side, v, m);
        for (let a = 0; a < 3; a += 1) axes[a][v] = at[a];
      }
      part.seen = { key, axes };
      return axes;
    }

    // The vertex that a pixel shows: the nearest corner of the triangle in front, or null beside the cortex.
    pick(px, py) {
      const m = this.matrix();
      let best = null, depth = Infinity;
      for (const part of Object.values(this.sides)) {
        const faces = part.mesh.tris, [xs, ys, zs] = this.projected(part, m);
        for (let i = 0; i < faces.length; i += 3) {
          const a = faces[i], b = faces[i + 1], c = faces[i + 2];
          const area = (xs[b] - xs[a]) * (ys[c] - ys[a]) - (xs[c] - xs[a]) * (ys[b] - ys[a]);
          if (!area) continue;
          const wb = ((px - xs[a]) * (ys[c] - ys[a]) - (xs[c] - xs[a]) * (py - ys[a])) / area;
          const wc = ((xs[b] - xs[a]) * (py - ys[a]) - (px - xs[a]) * (ys[b] - ys[a])) / area;
          if (wb < 0 || wc < 0 || wb + wc > 1) continue;
          const wa = 1 - wb - wc, z = wa * zs[a] + wb * zs[b] + wc * zs[c];
          if (z < depth) {
            depth = z;
            best = { side: part.side, vertex: wa >= wb && wa >= wc ? a : wb >= wc ? b : c };
          }
        }
      }
      return best;
    }

    move({ azimuth = 0, elevation = 0, zoom = 1 }) {
      const { scene } = this.nv;
      scene.renderAzimuth = (scene.renderAzimuth + azimuth + 360) % 360;
      scene.renderElevation = Math.max(-90, Math.min(90, scene.renderElevation + elevation));
      this.zoom = Math.max(0.5, Math.min(8, this.zoom * zoom));
      this.fit();
      this.nv.drawScene();
    }
  }
  window.brainmap.Cortex = Cortex;
})();
