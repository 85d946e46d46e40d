// What every run's page shows; run_classification.js, run_detection.js or run_plain.js add what their tasks show, and begin.
const history_ = data.history, result = data.result;

function sortable(table, columns, rows, { first = 0, direction = 1, limit = Infinity, wanted = () => true } = {}) {
  let order = [first, direction];
  function show() {
    const value = columns[order[0]].value;
    const compare = (a, b) => (typeof value(a) === "string" ? value(a).localeCompare(value(b), undefined, { numeric: true }) : (value(a) ?? -1) - (value(b) ?? -1));
    table.tHead.replaceChildren(make("tr", {}, columns.map(({ name }, i) => {
      const button = make("button", { type: "button" }, name);
      button.onclick = () => { order = [i, order[0] === i ? -order[1] : 1]; show(); };
      return make("th", i === order[0] ? { scope: "col", "aria-sort": order[1] > 0 ? "ascending" : "descending" } : { scope: "col" }, button);
    })));
    const shown = rows.filter(wanted).sort((a, b) => compare(a, b) * order[1]).slice(0, limit);
    table.tBodies[0].replaceChildren(...shown.map((row) => make("tr", {}, columns.map((column) => {
      const cell = make("td", {}, column.show ? column.show(row) : String(column.value(row)));
      if (column.share) { cell.className = "share"; cell.style.setProperty("--part", 100 * (column.value(row) ?? 0) + "%"); }
      return cell;
    }))));
  }
  show();
  return show;
}

/** Say what the run is and what it reached. facts: [name, value, more ...]; those of the result that are told are named. */
function head(facts, told) {
  const place = String(data.recipe.data), row = data.recipe.model;
  const tail = place.split(/[\\/]/).filter(Boolean).at(-1) ?? place;
  pick("#title").append(make("bdi", {}, data.network), " on ", make("bdi", {}, tail));
  document.title = `${data.network} on ${tail}`;
  const { train_images: learned, drawn_from: pool, val_images: held } = data.data;
  const drawn = typeof pool === "number" ? ` (drawn from ${pool.toLocaleString("en")}: fraction ${data.recipe.fraction})` : "";
  const counts = [several(data.data.classes.length, "class", "classes"), `${several(learned, "image")} to learn from${drawn}, ${held.toLocaleString("en")} held out`,
    `${(data.parameters / 1e6).toFixed(2)} M parameters`, `input ${data.recipe.size} × ${data.recipe.size} × ${(row.backbone ?? row).in_chans}`];
  if (place !== tail) counts.push(place);
  pick("#about").append(counts.join(" · "));
  const seconds = result.train_seconds;
  const training = ["training", seconds < 120 ? `${seconds.toFixed(1)} s` : seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`,
    several(result.epochs, "epoch")];
  const others = Object.entries(result).filter(([name, value]) =>
    ![...told, "train_seconds", "epochs"].includes(name) && ["string", "number", "boolean"].includes(typeof value));
  pick("#facts").append(...[...facts, training].map(([name, value, ...more]) => make("div", {}, make("span", {}, name), make("b", {}, value),
    ...(more.length ? more : [" "]).map((line) => make("span", {}, line)))));
  if (others.length) pick("#facts").append(make("div", {}, make("span", {}, "where and with what"),
    ...others.map(([name, value]) => make("span", {}, `${name.replaceAll("_", " ")} ${value}`))));
  if (result.changes?.length) {
    pick("#changed").hidden = false;
    pick("#changed").append("This run was interrupted, and did not go on as it began: ", make("bdi", {}, result.changes.join("; ")));
  }
  if (data.missing) {
    pick("#missing").hidden = false;
    pick("#missing").append("The held-out images cannot be looked at any more, so what is seen on them is left out here: ", make("bdi", {}, data.missing));
  }
}

/** Say in which files the weights of the best and of the last epoch are; of older runs nothing is known. */
function kept() {
  const { best, last } = result;
  if (!best || !last) return "";
  const said = (one, which) => (one.file ? `${one.file} has the weights of the ${which} epoch (${one.epoch})` : `those of the ${which} epoch (${one.epoch}) were not kept`);
  return ` ${[[last, "last"], [best, "best"]].sort(([a], [b]) => (b.file === "model.safetensors") - (a.file === "model.safetensors"))
    .map(([one, which]) => said(one, which)).join(", ")}.`;
}

const asShare = (v, tick) => percent(v, !tick ? 2 : Math.abs(v * 100 - Math.round(v * 100)) > 1e-6 ? 1 : 0);

/** Draw the history. scores: its columns that are shares, and their names, "" for one to leave out; the first says which epoch is best. */
function curves(title, scores, limits = {}) {
  const { epoch, ...columns } = history_;
  const names = Object.keys(columns), [watched, headline] = Object.entries(scores)[0] ?? [];
  const epochs = epoch ?? (names.length ? columns[names[0]].map((_, i) => i + 1) : []);
  if (!epochs.length) { pick("#curves").hidden = true; return; }
  const good = columns[watched] ?? columns.val_loss?.map((v) => (v === null ? null : -v));
  const best = !good || good.every((v) => v === null) ? null
    : good.reduce((top, v, i) => (v !== null && (good[top] === null || v > good[top]) ? i : top), 0);
  if (best !== null) {
    const value = (i) => (columns[watched] ? `${percent(columns[watched][i])} ${headline}` : plain(columns.val_loss[i]) + " loss");
    pick("#best").textContent = `Best epoch on the held-out images: ${epochs[best]} of ${epochs.length} (${value(best)})` +
      (best === epochs.length - 1 ? ", the last." : `; the last: ${value(epochs.length - 1)}.`) + kept();
  }
  const nice = { ...scores, train_loss: "training", val_loss: "held-out", lr: "learning rate", seconds: "seconds per epoch" };
  const label = (name) => nice[name] ?? name.replaceAll("_", " ");
  const host = pick("#curves .charts"), hues = ["first", "second", "third", "soft"];
  const along = { name: "epoch", values: epochs, show: String, whole: true, hovers: [] };
  function plot(what, chosen, more) {
    const known = chosen.filter((name) => columns[name]?.some((v) => v !== null));
    if (known.length) curve(host, { title: what, along, best, format: plain, ...more,
      lines: known.map((name, i) => ({ name: label(name), values: columns[name], colour: hues[i % hues.length] })) });
  }
  const losses = names.filter((name) => name.endsWith("loss"));
  plot("Loss", losses, {});
  plot(title, Object.keys(scores).filter((name) => scores[name]), { format: asShare, top: 1, ...limits });
  const rest = names.filter((name) => !losses.includes(name) && !(name in scores));
  for (const name of rest.sort((a, b) => (b === "lr") - (a === "lr"))) {
    const what = label(name);
    plot(what[0].toUpperCase() + what.slice(1), [name], { bottom: 0 }); // a small wobble shall look small
  }
}

/** Say what is taken for what. choose: shows what is in a cell, [true, said, count]. */
function confusion(about, choose) {
  const cells = data.confusion, wrong = cells.filter(([a, b]) => a !== b).sort((a, b) => b[2] - a[2] || ofTrue(b) - ofTrue(a));
  pick("#confused").textContent = about + (wrong.length ? " Blue is right, orange is wrong; choose a cell or a line to see its images." : "");
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
    { name: counted[1], value: ([, , n]) => n },
    { name: "of the class", value: ofTrue, show: (cell) => percent(ofTrue(cell), 1), share: true },
  ], wrong.slice(0, 100), { first: 2, direction: -1 });
  choose(wrong[0]);
}

/** Show what a cell holds: a sentence, pictures, names of further images, and how many have neither. */
function tellCell(cell, { words, shots, names, untold }) {
  mark(cell);
  pick("#cell").replaceChildren(make("p", {}, words), make("div", { class: "shots" }, shots),
    make("ul", {}, names.map((name) => make("li", {}, make("bdi", {}, name)))), make("p", {}, untold));
}

/** List the classes. columns: of the table, after the class and before what it is mostly taken for; first: to sort by. */
function perClass(rows, columns, first) {
  const worst = new Map();
  for (const cell of data.confusion) if (cell[0] !== cell[1] && cell[2] > (worst.get(cell[0])?.[2] ?? 0)) worst.set(cell[0], cell);
  const input = pick("#classes input");
  const show = sortable(pick("#classes table"), [
    { name: "class", value: ({ label }) => classes[label], show: ({ label }) => named(label) }, ...columns,
    { name: "mostly taken for", value: ({ label }) => (worst.has(label) ? classes[worst.get(label)[1]] : ""),
      show: ({ label }) => (worst.has(label) ? [named(worst.get(label)[1]), ` (${worst.get(label)[2]})`] : "") },
  ], rows, { first, wanted: ({ label }) => classes[label].toLowerCase().includes(input.value.trim().toLowerCase()) });
  input.oninput = show;
  input.closest("p").hidden = data.data.classes.length <= 12;
}

/** Show the first batch as the network saw it; runs of older versions have no picture. */
function firstBatch() {
  const { picture, size, said, unreadable } = data.batch ?? {};
  pick("#batch").hidden = !picture && !unreadable;
  pick("#batch p").textContent = unreadable ? `No picture of the first batch: ${unreadable}` :
    `${said}, as the network saw them: after all that the recipe changes at random.`;
  if (picture) pick("#batch .scroll").append(make("img", { src: picture, width: size[0], height: size[1], alt: "The images of the first batch" }));
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
  // a row within the row is a table of its own; sides of anchors have more digits than anybody reads
  const few = (_, value) => (typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value);
  const inner = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const rows = (values) => Object.entries(values).filter(([, value]) => !inner(value)).map(([name, value]) => make("tr", {}, make("td", {}, name),
    make("td", {}, make("bdi", {}, typeof value === "string" ? value : JSON.stringify(value, few)))));
  const table = (title, values) => [make("table", {}, make("caption", {}, title), make("tbody", {}, rows(values))),
    ...Object.entries(values).filter(([, value]) => inner(value)).map(([name, value]) => table(name[0].toUpperCase() + name.slice(1), value)).flat()];
  pick("#recipe .recipes").append(...table("Training", recipe), ...table("Network", model));
  const skipped = data.data.skipped;
  pick("#skipped").hidden = skipped.length === 0;
  pick("#skipped summary").textContent = `${several(skipped.length, "entry", "entries")} left out`;
  pick("#skipped tbody").append(...skipped.map(({ path, reason }) => make("tr", {}, make("td", {}, make("bdi", {}, path)), make("td", {}, reason))));
}

/** Draw the page. parts: those that are about the held-out images, by the names of their sections. */
function begin(parts) {
  for (const [name, show] of Object.entries(parts)) {
    if (data.missing) pick("#" + name).hidden = true;
    else show();
  }
  firstBatch();
  again();
  for (const part of document.querySelectorAll("main section:not([hidden])")) pick("nav").append(make("a", { href: "#" + part.id }, part.dataset.name));
}
