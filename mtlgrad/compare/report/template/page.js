"use strict";

// Tables: a click on a heading sorts, by the first number of each cell or, where there is none, by its text.
function key(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = column > 0 && text.replaceAll("\u2212", "-").match(/^[^\d+-]*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i);
  return { text, number: number ? Number(number[1]) : null };
}

function compare(one, other) {
  if (one.number !== null && other.number !== null) return one.number - other.number;
  if (one.number !== null || other.number !== null) return one.number === null ? 1 : -1; // what has no number comes last
  return one.text.localeCompare(other.text);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((one) => one.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...table.tBodies[0].rows].map((row) => ({ row, ...key(row, column) }));
      keyed.sort((one, other) => {
        const order = compare(one, other);
        return down && (one.number === null) === (other.number === null) ? -order : order;
      });
      table.tBodies[0].append(...keyed.map((one) => one.row));
    });
  });
}

for (const input of document.querySelectorAll("input[data-filter]")) {
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of document.getElementById(input.dataset.filter).querySelectorAll("table.sortable tbody tr")) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}

// Figures. Draws every figure on the page in the colours of the page, and again when those change.
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
