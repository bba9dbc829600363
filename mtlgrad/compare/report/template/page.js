"use strict";
// Draws every figure on the page in the colours of the page, and again when those change.
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const themedLayout = {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { ...layout.font, family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--soft") },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
  };
  for (const key of Object.keys({ xaxis: 0, yaxis: 0, ...layout }).filter((name) => /^[xy]axis\d*$/.test(name))) {
    themedLayout[key] = {
      zeroline: false, ...layout[key],
      gridcolor: colour("--line"), linecolor: colour("--line"), tickcolor: colour("--line"), zerolinecolor: colour("--line"),
    };
  }
  return themedLayout;
}

const figures = [...document.querySelectorAll(".plot")].map((element) => {
  const figure = JSON.parse(element.querySelector("script").textContent);
  return { element, ...figure };
});

function draw() {
  for (const { element, data, layout } of figures) {
    Plotly.react(element, data, themed(layout), { responsive: true, displayModeBar: false });
  }
}

draw();
dark.addEventListener("change", draw);
// Paper is white: the style sheet is light in print, and figures have to follow it.
window.addEventListener("beforeprint", draw);
window.addEventListener("afterprint", draw);
