// Unpacks the numbers of a page: gzip, byte planes, differences. Every block is unpacked once, when it is asked for.
(function () {
  "use strict";
  const { byId } = window.brainmap;
  const MISSING = -32768;

  async function bytes(name) {
    const element = byId("block-" + name);
    if (!element) return null;
    const text = atob(element.textContent.trim()), packed = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) packed[i] = text.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function joined(planes, width) { // least significant bytes first
    const n = planes.length / width;
    const values = width === 1 ? planes : width === 2 ? new Uint16Array(n) : new Uint32Array(n);
    if (width === 1) return values;
    for (let plane = 0; plane < width; plane += 1) {
      const shift = 8 * plane, start = plane * n;
      for (let i = 0; i < n; i += 1) values[i] |= planes[start + i] << shift;
    }
    return values;
  }

  const kept = new Map();
  function once(name, read) {
    if (!kept.has(name)) kept.set(name, bytes(name).then((data) => (data === null ? null : read(data))));
    return kept.get(name);
  }

  const arrays = {
    // Whole numbers of 8 or 16 bits.
    whole: (name, width) => once(name, (data) => joined(data, width)),
    signed: (name) => once(name, (data) => new Int16Array(joined(data, 2).buffer)),
    // Whole numbers of 32 bits stored as differences.
    summed: (name) => once(name, (data) => {
      const values = new Int32Array(joined(data, 4).buffer);
      for (let i = 1; i < values.length; i += 1) values[i] += values[i - 1];
      return values;
    }),
    bits: (name) => once(name, (data) => data),
    bit: (data, i) => (data[i >> 3] >> (7 - (i & 7))) & 1,
    // Real numbers in steps: rows (layers) as differences to the row before.
    numbers: (name, rows) => once(name, (data) => {
      const values = joined(data, 2), n = values.length / rows;
      for (let i = n; i < values.length; i += 1) values[i] += values[i - n];
      return new Int16Array(values.buffer);
    }),
    value: (steps, i, step) => (steps[i] === MISSING ? null : steps[i] * step),
    MISSING,
  };
  window.brainmap.arrays = arrays;
})();
