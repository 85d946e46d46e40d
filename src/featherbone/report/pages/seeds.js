// The page of several seeds: the range of every score, a line for each run, and their curves in one picture.
const { runs, scores } = data, names = Object.keys(scores);
const title = `${data.network} on ${String(data.place).split(/[\\/]/).filter(Boolean).at(-1) ?? data.place}`;
pick("#title").append(make("bdi", {}, title), ` with ${several(runs.length, "seed")}`);
document.title = title;
pick("#about").append(`${several(data.train_images, "image")} to learn from, ${data.val_images.toLocaleString("en")} held out, the same for every seed` +
  (data.fraction < 1 ? `; every seed draws its own share of the images to learn from: fraction ${data.fraction}` : ""));
pick("#facts").append(...names.map((name) => make("div", {}, make("span", {}, `held-out ${name}, mean`), make("b", {}, percent(scores[name].mean)),
  make("span", {}, `${percent(scores[name].low)} to ${percent(scores[name].high)}`))));
if (data.changes.length) {
  pick("#changed").hidden = false;
  pick("#changed").append("The later runs did not begin as the first did: ", make("bdi", {}, data.changes.join("; ")));
}

const table = pick("#seeds table");
const row = (cell, words) => make("tr", {}, words.map((one) => make(cell, {}, one)));
table.tHead.append(row("th", ["seed", ...names, "best epoch", "training"]));
table.tBodies[0].append(...runs.map((run) => row("td", [make("a", { href: run.page }, String(run.seed)), ...names.map((name) => percent(run.scores[name])),
  run.best ? `${run.best.epoch} (${percent(run.best.scores[names[0]])})` : "-", `${run.seconds.toFixed(1)} s`])),
  ...["mean", "low", "high"].map((which) => row("td", [make("b", {}, { mean: "mean", low: "lowest", high: "highest" }[which]),
    ...names.map((name) => make("b", {}, percent(scores[name][which]))), "", ""])));

const hues = ["first", "second", "third", "soft"], longest = runs.reduce((a, b) => (b.epochs.length > a.length ? b.epochs : a), []);
const along = { name: "epoch", values: longest, show: String, whole: true, hovers: [] };
function plot(what, column, more) {
  const known = runs.filter((run) => run.history[column]?.some((v) => v !== null));
  if (known.length) curve(pick("#curves .charts"), { title: what, along, best: null, format: plain, ...more, lines: known.map((run, i) => ({ name: `seed ${run.seed}`,
    values: longest.map((_, epoch) => run.history[column][epoch] ?? null), colour: hues[i % hues.length], dash: i < hues.length ? "" : "5 3" })) });
}
plot(`Held-out ${names[0]}`, `val_${names[0]}`, { format: (v) => percent(v, 1), top: 1 });
plot("Held-out loss", "val_loss");
plot("Training loss", "train_loss");
pick("#curves").hidden = !pick("#curves svg");
