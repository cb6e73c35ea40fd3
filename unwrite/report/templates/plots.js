"use strict";
// DVC's page calls vegaEmbed for each plot; here it draws in the page's colours, and no code is made from text.
(() => {
  const embed = window.vegaEmbed;
  const ink = { labelColor: "currentColor", titleColor: "currentColor" };
  const config = {
    background: null,
    font: "system-ui, sans-serif",
    axis: { ...ink, labelLimit: 255, domainColor: "gray", tickColor: "gray", gridColor: "gray", gridOpacity: 0.25, titleFontWeight: "normal" },
    legend: { ...ink, labelLimit: 320 },
    header: ink,
    title: { color: "currentColor", fontSize: 14, anchor: "start", limit: 560 },
    view: { stroke: null },
  };
  const ERRORS = 1; // of Vega's log
  const options = { mode: "vega-lite", config, renderer: "svg", ast: true, logLevel: ERRORS, actions: { editor: false } };
  // DVC's specifications name an earlier Vega-Lite, of which a newer one warns.
  window.vegaEmbed = (place, { $schema, ...spec }) => embed(place, spec, options);
})();
