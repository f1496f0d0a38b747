// What the scripts of all reports share: unpacking, Plotly on demand, messages, downloads.
window.brainmap = (function () {
  "use strict";
  const byId = (id) => document.getElementById(id);

  async function unpack(id) {
    const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  let plotly = null;
  function loadPlotly() {
    plotly = plotly || unpack("packed-plotly").then((source) => {
      const script = document.createElement("script");
      script.textContent = source;
      document.head.append(script);
      return window.Plotly;
    });
    return plotly;
  }

  function say(plot, text) {
    const note = document.createElement("p");
    note.className = "message";
    note.textContent = text;
    plot.replaceChildren(note);
  }

  function save(text, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // Buttons whose table is too long for a link: it lies packed in the page.
  document.querySelectorAll("button[data-packed]").forEach((button) => {
    button.addEventListener("click", async () => save(await unpack(button.dataset.packed), button.dataset.name));
  });

  return { byId, unpack, loadPlotly, say, save, modern: typeof DecompressionStream !== "undefined" };
})();
