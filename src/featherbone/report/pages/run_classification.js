// What a classifier got right and wrong on the held-out images.
function shot(prediction, second = false) {
  const { image, true: true_, said: [said, or], shares: [p, q], picture, unreadable } = prediction;
  const frame = make("div", { class: "frame" }, unreadable ? `no picture: ${unreadable}` : "");
  if (picture) {
    const shown = make("img", { src: picture, alt: image });
    shown.addEventListener("load", () => shown.classList.toggle("coarse", Math.max(shown.naturalWidth, shown.naturalHeight) <= 48));
    frame.append(shown);
  }
  const right = true_ === said;
  return make("figure", { class: "shot", title: `${image}\nloss ${plain(prediction.loss)}, the true class got ${percent(prediction.of_true, 1)}` }, frame,
    make("div", {}, "true ", make("b", {}, named(true_))),
    make("div", { class: right ? "yes" : "no" }, percent(p, 0) + " ", make("b", {}, named(said))),
    ...(second ? [make("div", {}, percent(q, 0) + " ", named(or))] : []),
    make("small", {}, make("bdi", {}, image)));
}

function mistakes() {
  const wrong = data.mistakes.filter((prediction) => prediction.picture || prediction.unreadable);
  pick("#mistakes p").textContent = data.mistaken === 0 ? "None: every held-out image got its true class."
    : `${several(data.mistaken, "held-out image")} of ${data.images.toLocaleString("en")} ${data.mistaken === 1 ? "is" : "are"} wrong` +
      `${wrong.length < data.mistaken ? `; the ${wrong.length} with the highest loss` : ", highest loss first"}. A label may be wrong, too.`;
  pick("#mistakes .shots").append(...wrong.map((prediction) => shot(prediction)));
}

function unsure() {
  pick("#unsure p").textContent = "The first two classes are nearly as probable; right or wrong, more images like these would teach most.";
  pick("#unsure .shots").append(...data.unsure.map((prediction) => shot(prediction, true)));
  pick("#unsure").hidden = data.unsure.length === 0;
}

function choose(cell) {
  const [true_, said, count] = cell;
  const these = data.mistakes.filter((prediction) => prediction.true === true_ && prediction.said[0] === said);
  const pictured = these.filter((prediction) => prediction.picture), others = these.filter((prediction) => !prediction.picture).slice(0, 60);
  const untold = true_ === said ? 0 : count - pictured.length - others.length;
  tellCell(cell, {
    words: [`${several(count, "image")} of `, make("b", {}, named(true_)), true_ === said ? " found, " : " taken for ",
      ...(true_ === said ? [] : [make("b", {}, named(said)), ", "]), percent(ofTrue(cell), 1) + " of the class."],
    shots: pictured.map((prediction) => shot(prediction)),
    names: others.map(({ image }) => image),
    untold: untold ? `${pictured.length + others.length ? "and " : ""}${several(untold, "image")} with a lower loss than those that this page names.` : "",
  });
}

function pairs() {
  const right = data.confusion.filter(([a, b]) => a === b).reduce((sum, [, , n]) => sum + n, 0);
  const again = Math.abs(data.top1 - result.top1) > 5e-5 ? ` Looked at once more for this page, in float32: ${percent(data.top1)}; while training: ${percent(result.top1)}.` : "";
  confusion(`${right.toLocaleString("en")} of ${several(data.images, "held-out image")} right.` + again, choose);
}

function listClasses() {
  const score = (name) => ({ name, value: (row) => row[name], show: (row) => (row.images || name === "precision" ? percent(row[name], 1) : "-"), share: true });
  perClass(data.scores.map(([images, precision, recall, f1], label) => ({ label, images, precision, recall, f1 })),
    [{ name: "images", value: ({ images }) => images }, score("f1"), score("precision"), score("recall")], 2);
}

function calibration() {
  const { error, confidence, top1, bins } = data.calibration, gap = confidence - top1;
  pick("#calibration p").textContent = `On average it claims ${percent(confidence, 1)} and is right in ${percent(top1, 1)}: ` +
    (Math.abs(gap) < 0.01 ? "about as sure as it may be" : gap > 0 ? "too sure of itself" : "better than it thinks") +
    `. The expected calibration error is ${percent(error, 1)}: so far is the claim from the truth, on average over images in 15 bins.`;
  reliability(pick("#calibration .charts"), bins);
}

const [low, high] = data.interval.map((share) => (100 * share).toFixed(1));
head([
  ["held-out top-1", percent(result.top1), `95 % sure: ${low} to ${high} %`],
  ...(classes.length > 5 ? [["held-out top-5", percent(result.top5)]] : []),
  ...(data.calibration ? [["calibration error", percent(data.calibration.error, 1), "0 is best"]] : []),
], ["top1", "top5"]);
curves("Held-out accuracy", { val_top1: "top-1", val_top5: classes.length > 5 ? "top-5" : "" });
begin({ confusion: pairs, mistakes, unsure, classes: listClasses, calibration });
