const history_ = data.history, result = data.result;

function sortable(table, columns, rows, { first = 0, direction = 1, limit = Infinity, wanted = () => true } = {}) {
  let order = [first, direction];
  function show() {
    const value = columns[order[0]].value;
    const compare = (a, b) => (typeof value(a) === "string" ? value(a).localeCompare(value(b), undefined, { numeric: true }) : value(a) - value(b));
    table.tHead.replaceChildren(make("tr", {}, columns.map(({ name }, i) => {
      const button = make("button", { type: "button" }, name);
      button.onclick = () => { order = [i, order[0] === i ? -order[1] : 1]; show(); };
      return make("th", i === order[0] ? { scope: "col", "aria-sort": order[1] > 0 ? "ascending" : "descending" } : { scope: "col" }, button);
    })));
    const shown = rows.filter(wanted).sort((a, b) => compare(a, b) * order[1]).slice(0, limit);
    table.tBodies[0].replaceChildren(...shown.map((row) => make("tr", {}, columns.map((column) => {
      const cell = make("td", {}, column.show ? column.show(row) : String(column.value(row)));
      if (column.share) { cell.className = "share"; cell.style.setProperty("--part", 100 * column.value(row) + "%"); }
      return cell;
    }))));
  }
  show();
  return show;
}

function head() {
  const place = String(data.recipe.data), row = data.recipe.model;
  const tail = place.split(/[\\/]/).filter(Boolean).at(-1) ?? place;
  pick("#title").append(make("bdi", {}, data.network), " on ", make("bdi", {}, tail));
  document.title = `${data.network} on ${tail}`;
  const counts = [`${several(classes.length, "class", "classes")}`, `${several(data.data.train_images, "image")} to learn from, ` +
    `${data.data.val_images.toLocaleString("en")} held out`, `${(data.parameters / 1e6).toFixed(2)} M parameters`,
    `input ${data.recipe.size} × ${data.recipe.size} × ${row.in_chans}`];
  if (place !== tail) counts.push(place);
  pick("#about").append(counts.join(" · "));
  const [low, high] = data.interval.map((share) => (100 * share).toFixed(1));
  const seconds = result.train_seconds;
  const facts = [["held-out top-1", percent(result.top1), `95 % sure: ${low} to ${high} %`]];
  if (classes.length > 5) facts.push(["held-out top-5", percent(result.top5), ""]);
  facts.push(["training", seconds < 120 ? `${seconds.toFixed(1)} s` : seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`,
    several(result.epochs, "epoch")]);
  if (data.calibration) facts.push(["calibration error", percent(data.calibration.error, 1), "0 is best"]);
  const others = Object.entries(result).filter(([name, value]) =>
    !["top1", "top5", "train_seconds", "epochs"].includes(name) && ["string", "number", "boolean"].includes(typeof value));
  pick("#facts").append(...facts.map(([name, value, more]) => make("div", {}, make("span", {}, name), make("b", {}, value), make("span", {}, more || " "))));
  if (others.length) pick("#facts").append(make("div", {}, make("span", {}, "where and with what"),
    ...others.map(([name, value]) => make("span", {}, `${name.replaceAll("_", " ")} ${value}`))));
  if (data.missing) {
    pick("#missing").hidden = false;
    pick("#missing").append("The held-out images cannot be looked at any more, so what is seen on them is left out here: ", make("bdi", {}, data.missing));
  }
}

function curves() {
  const { epoch, ...columns } = history_;
  const names = Object.keys(columns);
  const epochs = epoch ?? (names.length ? columns[names[0]].map((_, i) => i + 1) : []);
  if (!epochs.length) { pick("#curves").hidden = true; return; }
  const watched = columns.val_top1 ?? columns.val_loss?.map((v) => (v === null ? null : -v));
  const best = !watched || watched.every((v) => v === null) ? null
    : watched.reduce((top, v, i) => (v !== null && (watched[top] === null || v > watched[top]) ? i : top), 0);
  if (best !== null) {
    const value = (i) => (columns.val_top1 ? percent(columns.val_top1[i]) + " top-1" : plain(columns.val_loss[i]) + " loss");
    pick("#best").textContent = `Best epoch on the held-out images: ${epochs[best]} of ${epochs.length} (${value(best)})` +
      (best === epochs.length - 1 ? ", the last." : `; the last: ${value(epochs.length - 1)}.`);
  }
  const nice = { train_loss: "training", val_loss: "held-out", val_top1: "top-1", val_top5: "top-5", lr: "learning rate", seconds: "seconds per epoch" };
  const label = (name) => nice[name] ?? name.replaceAll("_", " ");
  const asShare = (v, tick) => percent(v, !tick ? 2 : Math.abs(v * 100 - Math.round(v * 100)) > 1e-6 ? 1 : 0);
  const host = pick("#curves .charts");
  const hues = ["first", "second", "third", "soft"];
  function plot(title, chosen, more) {
    const known = chosen.filter((name) => columns[name].some((v) => v !== null));
    if (known.length) curve(host, { title, epochs, best, format: plain, ...more,
      lines: known.map((name, i) => ({ name: label(name), values: columns[name], colour: hues[i % hues.length] })) });
  }
  const losses = names.filter((name) => name.endsWith("loss")), shares = names.filter((name) => /top\d|acc/.test(name));
  plot("Loss", losses, {});
  plot("Held-out accuracy", shares.filter((name) => classes.length > 5 || !name.endsWith("top5")), { format: asShare, top: 1 });
  const rest = names.filter((name) => !losses.includes(name) && !shares.includes(name));
  for (const name of rest.sort((a, b) => (b === "lr") - (a === "lr"))) {
    const title = label(name);
    plot(title[0].toUpperCase() + title.slice(1), [name], { bottom: 0 }); // a small wobble shall look small
  }
}

function shot(answer, second = false) {
  const { image, true: true_, said: [said, or], shares: [p, q], picture, unreadable } = answer;
  const frame = make("div", { class: "frame" }, unreadable ? `no picture: ${unreadable}` : "");
  if (picture) {
    const shown = make("img", { src: picture, alt: image });
    shown.addEventListener("load", () => shown.classList.toggle("coarse", Math.max(shown.naturalWidth, shown.naturalHeight) <= 48));
    frame.append(shown);
  }
  const right = true_ === said;
  return make("figure", { class: "shot", title: `${image}\nloss ${plain(answer.loss)}, the true class got ${percent(answer.of_true, 1)}` }, frame,
    make("div", {}, "true ", make("b", {}, named(true_))),
    make("div", { class: right ? "yes" : "no" }, percent(p, 0) + " ", make("b", {}, named(said))),
    ...(second ? [make("div", {}, percent(q, 0) + " ", named(or))] : []),
    make("small", {}, make("bdi", {}, image)));
}

function mistakes() {
  const wrong = data.mistakes.filter((answer) => answer.picture || answer.unreadable);
  pick("#mistakes p").textContent = data.mistaken === 0 ? "None: every held-out image got its true class."
    : `${several(data.mistaken, "held-out image")} of ${data.images.toLocaleString("en")} ${data.mistaken === 1 ? "is" : "are"} wrong` +
      `${wrong.length < data.mistaken ? `; the ${wrong.length} with the highest loss` : ", highest loss first"}. A label may be wrong, too.`;
  pick("#mistakes .shots").append(...wrong.map((answer) => shot(answer)));
  pick("#unsure p").textContent = "The first two classes are nearly as probable; right or wrong, more images like these would teach most.";
  pick("#unsure .shots").append(...data.unsure.map((answer) => shot(answer, true)));
  pick("#unsure").hidden = data.unsure.length === 0;
}

function choose(cell) {
  const [true_, said, count] = cell;
  mark(cell);
  const these = data.mistakes.filter((answer) => answer.true === true_ && answer.said[0] === said);
  const pictured = these.filter((answer) => answer.picture), others = these.filter((answer) => !answer.picture).slice(0, 60);
  const untold = true_ === said ? 0 : count - pictured.length - others.length;
  pick("#cell").replaceChildren(
    make("p", {}, `${several(count, "image")} of `, make("b", {}, named(true_)), true_ === said ? " found, " : " taken for ",
      ...(true_ === said ? [] : [make("b", {}, named(said)), ", "]), percent(ofTrue(cell), 1) + " of the class."),
    make("div", { class: "shots" }, pictured.map((answer) => shot(answer))),
    make("ul", {}, others.map(({ image }) => make("li", {}, make("bdi", {}, image)))),
    make("p", {}, untold ? `${pictured.length + others.length ? "and " : ""}${several(untold, "image")} with a lower loss than those that this page names.` : ""));
}

function confusion() {
  const cells = data.confusion, wrong = cells.filter(([a, b]) => a !== b).sort((a, b) => b[2] - a[2] || ofTrue(b) - ofTrue(a));
  const right = cells.filter(([a, b]) => a === b).reduce((sum, [, , n]) => sum + n, 0);
  const again = Math.abs(data.top1 - result.top1) > 5e-5 ? ` Looked at once more for this page, in float32: ${percent(data.top1)}; while training: ${percent(result.top1)}.` : "";
  pick("#confused").textContent = `${right.toLocaleString("en")} of ${several(data.images, "held-out image")} right.` + again +
    (wrong.length ? " Blue is right, orange is wrong; choose a cell or a line to see its images." : "");
  pick(".beside").classList.toggle("stacked", classes.length > 20 && classes.length <= LABELLED);
  (classes.length <= LABELLED ? labelledMatrix : manyClasses)(pick("#matrix"), cells, choose);
  if (!wrong.length) return;
  const button = (cell) => {
    const made = make("button", { type: "button" }, named(cell[0]));
    made.onclick = () => choose(cell);
    return made;
  };
  sortable(pick("#pairs table"), [
    { name: "true", value: ([a]) => classes[a], show: button },
    { name: "said", value: ([, b]) => classes[b], show: ([, b]) => named(b) },
    { name: "images", value: ([, , n]) => n },
    { name: "of the class", value: ofTrue, show: (cell) => percent(ofTrue(cell), 1), share: true },
  ], wrong.slice(0, 100), { first: 2, direction: -1 });
  choose(wrong[0]);
}

function perClass() {
  const worst = new Map();
  for (const cell of data.confusion) if (cell[0] !== cell[1] && cell[2] > (worst.get(cell[0])?.[2] ?? 0)) worst.set(cell[0], cell);
  const rows = scores.map(([images, precision, recall, f1], label) => ({ label, images, precision, recall, f1 }));
  const score = (name) => ({ name, value: (row) => row[name], show: (row) => (row.images || name === "precision" ? percent(row[name], 1) : "-"), share: true });
  const input = pick("#classes input");
  const show = sortable(pick("#classes table"), [
    { name: "class", value: ({ label }) => classes[label], show: ({ label }) => named(label) },
    { name: "images", value: ({ images }) => images }, score("f1"), score("precision"), score("recall"),
    { name: "mostly taken for", value: ({ label }) => (worst.has(label) ? classes[worst.get(label)[1]] : ""),
      show: ({ label }) => (worst.has(label) ? [named(worst.get(label)[1]), ` (${worst.get(label)[2]})`] : "") },
  ], rows, { first: 2, wanted: ({ label }) => classes[label].toLowerCase().includes(input.value.trim().toLowerCase()) });
  input.oninput = show;
  input.closest("p").hidden = classes.length <= 12;
}

function calibration() {
  const { error, confidence, top1, bins } = data.calibration, gap = confidence - top1;
  pick("#calibration p").textContent = `On average it claims ${percent(confidence, 1)} and is right in ${percent(top1, 1)}: ` +
    (Math.abs(gap) < 0.01 ? "about as sure as it may be" : gap > 0 ? "too sure of itself" : "better than it thinks") +
    `. The expected calibration error is ${percent(error, 1)}: so far is the claim from the truth, on average over images in 15 bins.`;
  reliability(pick("#calibration .charts"), bins);
}

function again() {
  const { model, ...recipe } = data.recipe;
  if (data.command) pick("#command").textContent = data.command;
  else {
    pick("#again > p").textContent = "Its recipe or network cannot be asked for by options of the command line; in Python:";
    pick("#command").textContent = data.python;
    pick("#python").hidden = true;
  }
  pick("#python pre").textContent = data.python;
  const rows = (values) => Object.entries(values).map(([name, value]) => make("tr", {}, make("td", {}, name),
    make("td", {}, make("bdi", {}, typeof value === "string" ? value : JSON.stringify(value)))));
  const table = (title, values) => make("table", {}, make("caption", {}, title), make("tbody", {}, rows(values)));
  pick("#recipe .recipes").append(table("Training", recipe), table("Network", model));
  const skipped = data.data.skipped;
  pick("#skipped").hidden = skipped.length === 0;
  pick("#skipped summary").textContent = `${several(skipped.length, "file")} that could not be read`;
  pick("#skipped tbody").append(...skipped.map(({ path, reason }) => make("tr", {}, make("td", {}, make("bdi", {}, path)), make("td", {}, reason))));
}

head();
curves();
if (data.missing) for (const part of ["confusion", "mistakes", "unsure", "classes", "calibration"]) pick("#" + part).hidden = true;
else { confusion(); mistakes(); perClass(); calibration(); }
again();
for (const part of document.querySelectorAll("main section:not([hidden])")) pick("nav").append(make("a", { href: "#" + part.id }, part.dataset.name));
