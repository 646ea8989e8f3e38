// Draws the charts that the server computed, and saves them: PNG and SVG are made in the browser.
(() => {
  const NARROW = 600; // px, below which panels stand on top of each other
  const PRINT = { color: "#1b1f24", background: "#ffffff", width: 1000 };
  let loading = null;

  function loadPlotly(path) {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = path;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => { loading = null; reject(new Error("plotly")); };
      document.head.append(script);
    });
    return loading;
  }

  // Panels side by side leave no room for their labels on a phone. One above the other, each has its
  // own, not only the first.
  function stackPanels(layout) {
    const axes = Object.keys(layout).filter((name) => /^xaxis\d*$/.test(name));
    if (axes.length < 2) return layout;
    const stacked = { ...layout, height: 340 * axes.length, margin: { ...layout.margin, t: 40 } };
    const step = 1 / axes.length;
    axes.forEach((name, at) => {
      const bottom = 1 - (at + 1) * step;
      const vertical = name.replace("x", "y");
      const domain = [bottom + 0.34 * step, bottom + 0.92 * step];
      stacked[name] = { ...layout[name], domain: [0, 1] };
      stacked[vertical] = { ...layout[vertical], domain, showticklabels: true };
    });
    stacked.annotations = layout.annotations?.map((annotation, at) => (
      { ...annotation, x: 0, xanchor: "left", y: 1 - at * step - 0.07 * step }
    ));
    return stacked;
  }

  // Long labels and a legend need room that a phone has below, not beside.
  function fit(layout, width) {
    if (width >= NARROW) return layout;
    const margin = { ...layout.margin, l: 48 };
    return stackPanels({ ...layout, margin, font: { ...layout.font, size: 12 } });
  }

  function colour(layout, color, background) {
    return {
      ...layout,
      font: { ...layout.font, color },
      paper_bgcolor: background,
      plot_bgcolor: background,
    };
  }

  // Intervals on bars are drawn in the colour of the text; elsewhere in that of their line.
  function inkBars(data, color) {
    return data.map((trace) => (
      trace.type === "bar" ? { ...trace, error_y: { ...trace.error_y, color } } : trace
    ));
  }

  async function draw(plotly, element, figure) {
    const layout = fit(figure.layout, element.clientWidth);
    const shown = colour(layout, getComputedStyle(element).color, "rgba(0,0,0,0)");
    element.style.minHeight = `${shown.height}px`;
    const data = inkBars(figure.data, shown.font.color);
    await plotly.react(element, data, shown, { displayModeBar: false, responsive: true });
  }

  async function paint(plotly, figure, format) {
    const layout = colour(figure.layout, PRINT.color, PRINT.background);
    const size = { width: PRINT.width, height: layout.height };
    const data = inkBars(figure.data, PRINT.color);
    const printed = { data, layout: { ...layout, ...size } };
    const address = await plotly.toImage(printed, { format, ...size, scale: format === "png" ? 2 : 1 });
    return (await fetch(address)).blob();
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  window.kferCharts = { loadPlotly, draw, paint, save };
})();
