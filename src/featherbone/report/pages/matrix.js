// The confusion matrix: cells with labels for few classes, a picture of points for many.
const LABELLED = 40;
const NOTHING = data.data.classes.length; // what a detector finds where nothing is, and leaves where something is
const classes = data.labels ?? data.data.classes;
const counted = data.counted ?? ["image", "images"];
const ofRow = new Map();
for (const [true_, , count] of data.confusion ?? []) ofRow.set(true_, (ofRow.get(true_) ?? 0) + count);
const ofTrue = ([true_, , count]) => count / ofRow.get(true_);
const named = (label) => make("bdi", {}, classes[label]);
const short = (name, most = 16) => (name.length > most ? name.slice(0, most - 1) + "…" : name);

// a frame round the chosen cell, above all others
let chosen = null;
function mark(cell = chosen) {
  chosen = cell;
  document.querySelector("#matrix .frame")?.remove();
  const box = cell && document.querySelector(`#matrix [data-cell="${cell[0]},${cell[1]}"]`);
  if (!box) return;
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => box.getAttribute(name));
  box.parentNode.append(draw("rect", { class: "frame", x, y, width, height }));
}

function describeCell(event, cell) {
  const [true_, said, count] = cell;
  tell(event, make("span", {}, "true: ", named(true_)), make("span", {}, "said: ", named(said)),
    `${several(count, ...counted)}, ${percent(ofTrue(cell), 1)} of ${true_ === NOTHING ? "what is nothing" : "the true class"}`);
}

function labelledMatrix(host, cells, choose) {
  const count = classes.length;
  const longest = Math.min(16, Math.max(...classes.map((name) => name.length)));
  const slanted = longest > 3;
  const beside = 30 + longest * 7.2, above = slanted ? 30 + longest * 6.4 : 40;
  const found = new Map(cells.map((cell) => [`${cell[0]},${cell[1]}`, cell]));
  redrawn(host, (room) => {
    const side = Math.max(count <= 12 ? 22 : 16, Math.min(count <= 5 ? 84 : 60, (Math.min(room, 1100) - beside - (slanted ? longest * 4 : 0)) / count));
    const width = beside + side * count + (slanted ? longest * 4 : 4), height = above + side * count + 4;
    const picture = draw("svg", { width, height, role: "img", "aria-label": "Confusion matrix, true classes in rows" });
    picture.append(draw("text", { x: beside + (side * count) / 2, y: 12, "text-anchor": "middle" }, "said"),
      draw("text", { transform: `translate(12 ${above + (side * count) / 2}) rotate(-90)`, "text-anchor": "middle" }, "true"));
    for (let i = 0; i < count; i++) {
      const middle = (i + 0.5) * side;
      const turn = slanted ? ` rotate(-60)` : "";
      picture.append(
        draw("text", { class: "named", x: beside - 6, y: above + middle + 4, "text-anchor": "end" }, short(classes[i]), draw("title", {}, classes[i])),
        draw("text", { class: "named", transform: `translate(${beside + middle + (slanted ? 4 : 0)} ${above - 7})${turn}`,
          "text-anchor": slanted ? "start" : "middle" }, short(classes[i])));
      for (let j = 0; j < count; j++) picture.append(...square(i, j, side, beside, above));
    }
    host.replaceChildren(picture);
    mark();
  });

  function square(i, j, side, beside, above) {
    const cell = found.get(`${i},${j}`);
    const x = beside + j * side, y = above + i * side;
    if (!cell) return [draw("rect", { x, y, width: side, height: side, fill: "var(--faint)" })];
    // mistakes are few: the root makes them seen
    const strength = Math.max(0.12, i === j ? ofTrue(cell) : Math.sqrt(ofTrue(cell)));
    const box = draw("rect", { x, y, width: side, height: side, fill: `var(--${i === j ? "right" : "wrong"})`, "fill-opacity": strength });
    box.dataset.cell = `${i},${j}`;
    box.style.cursor = "pointer";
    box.addEventListener("pointermove", (event) => describeCell(event, cell));
    box.addEventListener("pointerleave", hush);
    box.addEventListener("click", () => choose(cell));
    const fits = String(cell[2]).length * 7 < side - 2;
    return fits ? [box, draw("text", { x: x + side / 2, y: y + side / 2 + 4, "text-anchor": "middle",
      style: `fill: ${strength > 0.5 ? "#fff" : "var(--ink)"}` }, String(cell[2]))] : [box];
  }
}

function manyClasses(host, cells, choose) {
  const side = 1280, cell = side / classes.length;
  const canvas = make("canvas", { width: side, height: side, role: "img", "aria-label": "Confusion matrix, true classes in rows" });
  const point = Math.max(cell, 3); // a single image among a million cells is still seen
  function paint() {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, side, side);
    for (const one of cells) {
      const right = one[0] === one[1];
      pen.globalAlpha = Math.max(0.25, right ? ofTrue(one) : Math.sqrt(ofTrue(one)));
      pen.fillStyle = colour(right ? "right" : "wrong");
      pen.fillRect(one[1] * cell, one[0] * cell, point, point);
    }
  }
  function near(event) {
    const box = canvas.getBoundingClientRect();
    const at = [event.clientY - box.top, event.clientX - box.left].map((v) => (v / box.width) * classes.length - 0.5);
    const away = (one) => Math.max(Math.abs(one[0] - at[0]), Math.abs(one[1] - at[1]));
    const best = cells.reduce((a, b) => (away(b) < away(a) ? b : a), cells[0]);
    return best && away(best) <= Math.max(0.5, (4 / box.width) * classes.length) ? best : null;
  }
  canvas.addEventListener("pointermove", (event) => { const one = near(event); if (one) describeCell(event, one); else hush(); });
  canvas.addEventListener("pointerleave", hush);
  canvas.addEventListener("click", (event) => { const one = near(event); if (one) choose(one); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  host.append(make("p", { class: "edge" }, "said →, true ↓, in label order"), canvas);
  paint();
}
