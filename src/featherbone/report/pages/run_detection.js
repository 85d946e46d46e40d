// What a detector found, missed and imagined in the held-out images.
const KINDS = { right: "found", false: "false: nothing of this class is there", missed: "missed", true: "the true box of what is found" };
const best = data.best;
const trusted = best && (!best.score ? "-" : best.score < 0.095 ? best.score.toPrecision(2) : best.score.toFixed(2));
const NAMED = 6; // classes whose curves are drawn together: more could not be told apart
const TOLD = 6; // boxes under the pointer

const kindOf = ({ kind, label, score }) => [KINDS[kind].split(":")[0] + ": ", make("b", {}, named(label)), score === null ? "" : ` ${percent(score, 0)}`];
const shape = ({ kind, x, y, width, height }) => draw("g", { class: kind },
  draw("rect", { class: "casing", x, y, width, height }), draw("rect", { class: "line", x, y, width, height }));

/** Draw an image and its boxes, small ones above large ones; those that are not looked for are faint. */
function pictured({ image, picture, size: [width, height], boxes }, wanted) {
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": image },
    draw("image", { href: picture, width, height, preserveAspectRatio: "none" }));
  const all = boxes.map(([kind, label, score, x, y, w, h]) => ({ kind, label, score, x, y, width: w, height: h }));
  for (const box of all.sort((a, b) => (b.kind === "true") - (a.kind === "true") || b.width * b.height - a.width * a.height)) {
    const drawn = shape(box);
    if (!wanted(box)) drawn.classList.add("faint");
    svg.append(drawn);
  }
  svg.addEventListener("pointermove", (event) => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const here = all.filter((box) => box.kind !== "true" && !pick("main").classList.contains("no-" + box.kind) &&
      x >= box.x && x <= box.x + box.width && y >= box.y && y <= box.y + box.height);
    if (here.length) tell(event, ...here.slice(-TOLD).map((box) => make("span", {}, kindOf(box))));
    else hush();
  });
  svg.addEventListener("pointerleave", hush);
  return svg;
}

function shot(outcome, wanted = () => true) {
  const { image, unreadable, missed, imagined, right } = outcome;
  const frame = make("div", { class: "frame" }, unreadable ? `no picture: ${unreadable}` : "");
  if (outcome.picture) frame.append(pictured(outcome, wanted));
  return make("figure", { class: "shot boxed", title: image }, frame,
    make("div", {}, make("b", {}, `${missed} missed, ${imagined} false`), `, ${right} found`), make("small", {}, make("bdi", {}, image)));
}

/** List the kinds of boxes as they are drawn, each to be shown or hidden everywhere. */
function legend() {
  pick("#worst .legend").append(...Object.entries(KINDS).map(([kind, words]) => {
    const box = make("input", { type: "checkbox", id: "show-" + kind });
    box.checked = true;
    box.onchange = () => pick("main").classList.toggle("no-" + kind, !box.checked);
    return make("label", {}, box, draw("svg", { width: 34, height: 20, "aria-hidden": "true" }, shape({ kind, x: 3, y: 3, width: 28, height: 14 })), words);
  }));
}

function worst() {
  const shown = data.worst.filter((outcome) => outcome.picture || outcome.unreadable);
  pick("#worst p").textContent = data.faulty === 0 ? `None: where a score of ${trusted} is trusted, every box is found, and nothing else.`
    : `In ${data.faulty.toLocaleString("en")} of ${several(data.images, "held-out image")} something is missed or false, where a score of ${trusted} or more ` +
      `is trusted; ${shown.length < data.faulty ? `the ${shown.length} with the most of it` : "those with the most of it first"}. The true boxes may be wrong, too. Point at a box for its class.`;
  pick("#worst .legend").hidden = data.faulty === 0;
  legend();
  pick("#worst .shots").append(...shown.map((outcome) => shot(outcome)));
}

function choose(cell) {
  const [true_, said, count] = cell;
  const wanted = ({ kind, label }) => (true_ === said ? kind === "right" && label === said
    : (kind === "missed" && label === true_) || (kind === "false" && label === said));
  const these = data.worst.filter(({ cells }) => cells.some(([a, b]) => a === true_ && b === said));
  const seen = these.filter((outcome) => outcome.picture).slice(0, 4), others = these.filter((outcome) => !seen.includes(outcome)).slice(0, 12);
  const name = (label) => make("b", {}, named(label));
  const words = true_ === said ? [" of ", name(true_), " found"] : said === NOTHING ? [" of ", name(true_), " not found"]
    : true_ === NOTHING ? [" of ", name(said), " where nothing of it is"] : [" of ", name(true_), " taken for ", name(said)];
  tellCell(cell, {
    words: [several(count, ...counted), ...words, `, ${percent(ofTrue(cell), 1)} of ${true_ === NOTHING ? "what is false" : "the class"}.`],
    shots: seen.map((outcome) => shot(outcome, wanted)),
    names: others.map(({ image }) => image),
    untold: true_ !== said && these.length > seen.length + others.length ? `and ${several(these.length - seen.length - others.length, "further image")}.` : "",
  });
}

function pairs() {
  const boxes = data.classes.reduce((sum, [, n]) => sum + n, 0), right = data.confusion.filter(([a, b]) => a === b).reduce((sum, [, , n]) => sum + n, 0);
  const again = Math.abs((data.scores.ap ?? 0) - result.ap) > 5e-5 ? ` Looked at once more for this page, in float32: AP ${percent(data.scores.ap)}; while training: ${percent(result.ap)}.` : "";
  confusion(`${right.toLocaleString("en")} of ${several(boxes, ...counted)} found with their class, where a score of ${trusted} or more is trusted; ` +
    `a box is found that is covered with an IoU of 0.5.` + again, choose);
}

function listClasses() {
  const of = (place) => (label) => data.confusion.filter((cell) => cell[place] === label).reduce((sum, [, , n]) => sum + n, 0);
  const there = of(0), said = of(1), right = new Map(data.confusion.filter(([a, b]) => a === b).map(([a, , n]) => [a, n]));
  const share = (label, all) => (all ? (right.get(label) ?? 0) / all : null);
  const score = (name, value) => ({ name, value, show: (row) => percent(value(row), 1), share: true });
  perClass(data.classes.map(([images, boxes, ap, ap50], label) => ({ label, images, boxes, ap, ap50, precision: share(label, said(label)), recall: share(label, there(label)) })), [
    { name: "images", value: ({ images }) => images }, { name: "boxes", value: ({ boxes }) => boxes },
    score("AP", ({ ap }) => ap), score("AP50", ({ ap50 }) => ap50), score("precision", ({ precision }) => precision), score("recall", ({ recall }) => recall),
  ], 3);
}

function precision() {
  pick("#precision p").textContent = `At an IoU of 0.5. F1 is best where scores of ${trusted} or more are trusted: then ${percent(best.precision, 1)} of what is said ` +
    `is right, and ${percent(best.recall, 1)} of the boxes are found.`;
  const host = pick("#precision .charts"), shares = { format: asShare, top: 1, bottom: 0 };
  const { recalls, mean, curves: each } = data.curves;
  const left = make("div"), drawn = each.map((curve, label) => ({ label, curve })).filter(({ curve }) => curve);
  const line = ({ label, curve }, i) => ({ name: classes[label], values: curve, colour: ["first", "second", "third"][i % 3], dash: i < 3 ? "" : "7 4" });
  const along = () => ({ name: "recall", values: recalls, show: asShare, hovers: [] });
  const draw_ = (some) => {
    left.replaceChildren();
    const all = { name: "all classes", values: mean, colour: "ink", width: 3 };
    curve(left, { title: "Precision over recall", along: along(), best: null, lines: [...(each.length > 1 && mean ? [all] : []), ...some.map(line)], ...shares });
  };
  host.append(left);
  if (mean) draw_(drawn.length > NAMED ? [] : drawn);
  const choice = pick("#of select");
  pick("#of").hidden = drawn.length <= NAMED;
  choice.append(make("option", { value: "" }, "all classes"), ...drawn.map(({ label }) => make("option", { value: label }, classes[label])));
  choice.onchange = () => draw_(drawn.filter(({ label }) => String(label) === choice.value));
  const { scores, rows } = data.trusted, column = (name, i, colour, dash) => ({ name, values: rows.map((row) => row[i]), colour, dash });
  curve(host, { title: "What a score is worth", best: scores.indexOf(best.score), ...shares,
    along: { name: "least score", values: scores, show: (v, tick) => (tick ? String(v) : v.toFixed(2)), hovers: [] },
    lines: [column("precision", 0, "first"), column("recall", 1, "second"), column("F1", 2, "ink", "7 4")] });
}

head([
  ["held-out AP", percent(result.ap), "mean of IoU 0.50 to 0.95"],
  ["AP50", percent(result.ap50), "at IoU 0.5"],
  ["AP75", percent(result.ap75), "at IoU 0.75"],
  ...(data.missing ? [] : [
    ["AP by area", [data.scores.small, data.scores.medium, data.scores.large].map((v) => percent(v, 0)).join(" · "), "small, medium, large:", "below 32 × 32, to 96 × 96 pixels, above"],
    ["best score to trust", trusted, `precision ${percent(best.precision, 1)}`, `recall ${percent(best.recall, 1)}`],
  ]),
], ["ap", "ap50", "ap75"]);
curves("Held-out average precision", { val_ap: "AP", val_ap50: "AP50", val_ap75: "AP75" }, { bottom: 0 });
begin({ confusion: pairs, worst, classes: listClasses, precision });
