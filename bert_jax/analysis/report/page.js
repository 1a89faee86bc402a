"use strict";
// Draws the figures, follows the reader's light or dark theme, and looks neighbours up.

const dark = matchMedia("(prefers-color-scheme: dark)");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function themed(layout) {
  const changes = { "font.color": css("--ink"), paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    "hoverlabel.bgcolor": css("--card"), "hoverlabel.bordercolor": css("--line"), "hoverlabel.font.color": css("--ink") };
  for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    changes[axis + ".gridcolor"] = css("--line");
    changes[axis + ".zerolinecolor"] = css("--line");
    changes[axis + ".linecolor"] = css("--line");
    changes[axis + ".tickcolor"] = css("--line");
  }
  return changes;
}

function put(target, changes) {
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split(".");
    const last = keys.pop();
    keys.reduce((at, key) => (at[key] ??= {}), target)[last] = value;
  }
  return target;
}

async function drawAll() {
  const figures = [...document.querySelectorAll("figure.plot")];
  for (const figure of figures) {
    const canvas = figure.querySelector(".canvas");
    const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
    await Plotly.newPlot(canvas, data, put(layout, themed(layout)), {
      displaylogo: false, responsive: true,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
    figure.dataset.drawn = "yes";
    await new Promise((next) => setTimeout(next));  // lets the reader scroll meanwhile
  }
  dark.addEventListener("change", () => {
    for (const figure of figures) {
      const canvas = figure.querySelector(".canvas");
      Plotly.relayout(canvas, themed(canvas.layout));
    }
  });
  document.body.dataset.drawn = figures.length;
}

function unpacked(text, Type) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Type(bytes.buffer);
}

function startSearch(root) {
  const index = JSON.parse(root.querySelector("script").textContent);
  const pieces = index.pieces;
  const ids = unpacked(index.ids, index.wide ? Uint32Array : Uint16Array);
  const cosines = unpacked(index.cosines, Int16Array);
  const counts = index.counts && unpacked(index.counts, Uint32Array);
  const updates = index.updates && unpacked(index.updates, Uint32Array);
  const rowOf = new Map();
  pieces.forEach((piece, row) => rowOf.has(piece) || rowOf.set(piece, row));
  const input = root.querySelector("input");
  const hits = root.querySelector(".hits");
  const found = root.querySelector(".found");

  const make = (tag, text, parent) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const button = (row, parent) => {
    const element = make("button", pieces[row] === "" ? "(empty)" : pieces[row], parent);
    element.type = "button";
    element.addEventListener("click", () => { input.value = pieces[row]; look(pieces[row]); show(row); });
    return element;
  };

  function matches(text) {
    const wanted = text.toLowerCase();
    const exact = [], begins = [], inside = [];
    for (let row = 0; row < pieces.length; row++) {
      const piece = pieces[row].toLowerCase();
      if (piece === wanted) exact.push(row);
      else if (piece.startsWith(wanted)) { if (begins.length < 24) begins.push(row); }
      else if (inside.length < 24 && piece.includes(wanted)) inside.push(row);
    }
    return exact.concat(begins, inside).slice(0, 24);
  }

  function look(text) {
    hits.replaceChildren();
    if (text === "") return;
    const rows = matches(text);
    for (const row of rows) button(row, hits).setAttribute("aria-pressed", pieces[row] === text);
    if (!rows.length) make("p", `No piece holds “${text}”. Longer words are cut into pieces: try a part of it.`, hits);
  }

  function show(row) {
    found.replaceChildren();
    make("h3", pieces[row], found);
    const about = [`row ${row.toLocaleString("en")}`, `length ${index.norms[row].toFixed(2)}`];
    if (counts) about.push(`seen ${counts[row].toLocaleString("en")} times`);
    if (updates) about.push(`updated ${updates[row].toLocaleString("en")} times`);
    make("p", about.join(" · "), found);
    const table = make("table", undefined, make("div", undefined, found));
    table.parentElement.className = "scroll";
    const head = make("tr", undefined, make("thead", undefined, table));
    for (const name of ["neighbour", "cosine", "", ...(counts ? ["seen"] : [])]) {
      make("th", name, head).className = name === "cosine" || name === "seen" ? "n" : "";
    }
    const body = make("tbody", undefined, table);
    for (let i = row * index.k; i < (row + 1) * index.k; i++) {
      if (cosines[i] < -10001) continue;  // this row has one neighbour fewer than others
      const line = make("tr", undefined, body);
      button(ids[i], make("td", undefined, line));
      make("td", (cosines[i] / 10000).toFixed(3), line).className = "n";
      const bar = make("td", undefined, line);
      bar.className = "bar";
      make("span", undefined, bar).style.width = `${Math.max(0, cosines[i] / 100)}%`;
      if (counts) make("td", counts[ids[i]].toLocaleString("en"), line).className = "n";
    }
  }

  input.addEventListener("input", () => {
    look(input.value);
    if (rowOf.has(input.value)) show(rowOf.get(input.value));
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const rows = matches(input.value);
    if (rows.length) { look(input.value); show(rowOf.get(input.value) ?? rows[0]); }
  });
  if (index.first !== null) { input.value = pieces[index.first]; look(input.value); show(index.first); }
  root.dataset.ready = "yes";
}

document.querySelectorAll(".search").forEach(startSearch);
drawAll();
