"use strict";
const pick = (selector) => document.querySelector(selector);
const data = JSON.parse(pick("#data").textContent);

// names of classes and files reach the page as text nodes and attributes' values only: they are never read as markup
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.flat());
  return node;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const percent = (share, digits = 2) => (share === null ? "-" : (100 * share).toFixed(digits) + " %");
const plain = (value) => (value === null ? "-" : value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3
  ? value.toExponential(2) : String(Number(value.toPrecision(4))));
const several = (count, one, many = one + "s") => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

function tell(event, ...lines) {
  const tip = pick("#tip");
  tip.replaceChildren(...lines.map((line) => make("div", {}, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  tip.style.left = Math.max(4, Math.min(left, innerWidth - width - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4)) + "px";
}
const hush = () => { pick("#tip").hidden = true; };
addEventListener("scroll", hush, { passive: true });

// draw again whenever the width changes: letters keep their size on narrow screens
function redrawn(host, paint) {
  let width = 0;
  new ResizeObserver(([{ contentRect: now }]) => {
    if (Math.abs(now.width - width) > 1) paint(width = now.width);
  }).observe(host);
}

function ticks(low, high, most) {
  const rough = (high - low) / most, ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * ten).find((s) => s >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// an axis from values to 0..1, with its ticks; logarithmic where the values span more than two powers of ten
function axis(values, { top = Infinity, bottom = Infinity }) {
  let low = Math.min(bottom, ...values), high = Math.max(...values);
  if (low > 0 && high / low > 100) {
    const [a, b] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const step = Math.ceil((b - a) / 5);
    const marks = Array.from({ length: Math.floor((b - a) / step) + 1 }, (_, i) => 10 ** (a + i * step));
    return { place: (v) => (Math.log10(v) - a) / (b - a), marks, log: true };
  }
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  [low, high] = [low >= 0 ? Math.max(0, low - room) : low - room, Math.min(top, high + room)];
  return { place: (v) => (v - low) / (high - low), marks: ticks(low, high, 5), log: false };
}

const hovers = []; // what every curve does when a row of the history is pointed at

/** Draw lines over epochs. lines: {name, values, colour}; best: the row to mark; top, bottom: what the axis may or must reach. */
function curve(host, { title, lines, epochs, best, format, ...limits }) {
  const seen = axis(lines.flatMap((line) => line.values).filter((v) => v !== null), limits);
  const caption = make("figcaption", {}, title + (seen.log ? ", logarithmic" : ""), lines.length < 2 ? [] : lines.map((line) => {
    const mark = make("i");
    mark.style.background = `var(--${line.colour})`;
    return make("span", { class: "key" }, mark, line.name);
  }));
  const picture = draw("svg", { height: 230, tabindex: 0, role: "img",
    "aria-label": `${title} over ${several(epochs.length, "epoch")}; arrow keys read the values` });
  host.append(make("figure", { class: "chart" }, caption, picture));
  const edge = { left: 54, right: 12, top: 16, bottom: 32 }, height = 230 - edge.top - edge.bottom;
  let x, row = -1;
  const y = (v) => edge.top + height * (1 - seen.place(v));
  const marker = draw("g", { visibility: "hidden" });

  redrawn(picture, (width) => {
    const inner = width - edge.left - edge.right, [first, last] = [epochs[0], epochs.at(-1)];
    x = (i) => edge.left + (last === first ? inner / 2 : (inner * (epochs[i] - first)) / (last - first));
    const steps = last === first ? [first] : ticks(first, last, Math.min(8, width / 60)).filter(Number.isInteger);
    picture.replaceChildren(
      ...seen.marks.map((v) => draw("g", {},
        draw("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(v), y2: y(v) }),
        draw("text", { x: edge.left - 7, y: y(v) + 4, "text-anchor": "end" }, format(v, true)))),
      ...steps.map((epoch) => draw("text", { y: 230 - 14, x: x(epochs.indexOf(epoch)), "text-anchor": "middle" }, String(epoch))),
      draw("text", { x: width - edge.right, y: 230, "text-anchor": "end" }, "epoch"),
      ...(best === null ? [] : [
        draw("line", { class: "best", x1: x(best), x2: x(best), y1: edge.top, y2: edge.top + height }),
        draw("text", { x: Math.min(Math.max(x(best), edge.left + 18), width - 26), y: 11, "text-anchor": "middle" }, "best")]),
      ...lines.flatMap(({ values, colour: stroke }) => strokes(values, stroke)), marker);
    point(row);
  });

  function strokes(values, stroke) {
    const known = values.map((v, i) => [v, i]).filter(([v]) => v !== null);
    const path = known.map(([v, i]) => `${i && values[i - 1] !== null ? "L" : "M"}${x(i)},${y(v)}`).join("");
    const dots = known.length > 40 ? [] : known.map(([v, i]) => draw("circle", { cx: x(i), cy: y(v), r: 2.5, fill: `var(--${stroke})` }));
    return [draw("path", { d: path, fill: "none", stroke: `var(--${stroke})`, "stroke-width": 2, "stroke-linejoin": "round" }), ...dots];
  }

  function point(i) {
    row = i;
    marker.setAttribute("visibility", i < 0 ? "hidden" : "visible");
    if (i < 0 || !x) return;
    marker.replaceChildren(draw("line", { class: "at", x1: x(i), x2: x(i), y1: edge.top, y2: edge.top + height }),
      ...lines.filter((l) => l.values[i] !== null).map((l) => draw("circle", { cx: x(i), cy: y(l.values[i]), r: 4.5, fill: `var(--${l.colour})` })));
  }
  hovers.push(point);

  const say = (event, i) => {
    for (const other of hovers) other(i);
    tell(event, `epoch ${epochs[i]}${i === best ? ", the best" : ""}`, ...lines.map((l) => `${l.name}: ${format(l.values[i])}`));
  };
  const leave = () => { hush(); for (const other of hovers) other(-1); };
  picture.addEventListener("pointermove", (event) => {
    const at = event.clientX - picture.getBoundingClientRect().left;
    say(event, epochs.reduce((near, _, i) => (Math.abs(x(i) - at) < Math.abs(x(near) - at) ? i : near), 0));
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const i = row < 0 ? (best ?? epochs.length - 1) : Math.min(Math.max(row + step, 0), epochs.length - 1);
    const { left, top: above } = picture.getBoundingClientRect();
    say({ clientX: left + x(i), clientY: above + edge.top }, i);
  });
}

/** Draw the share that is right over the probability that was claimed. bins: [images, confidence, right]. */
function reliability(host, bins) {
  const picture = draw("svg", { height: 320, role: "img", "aria-label": "Share that is right over the probability that was claimed" });
  host.append(make("figure", { class: "chart" }, make("figcaption", {}, "Share that is right",
    make("span", { class: "key" }, "a dot's area is its number of images; on the dashed line it could be believed")), picture));
  const edge = { left: 54, right: 16, top: 14, bottom: 46 }, height = 320 - edge.top - edge.bottom;
  const most = Math.max(...bins.map(([images]) => images));
  redrawn(picture, (width) => {
    const x = (v) => edge.left + (width - edge.left - edge.right) * v, y = (v) => edge.top + height * (1 - v);
    picture.replaceChildren(
      ...[0, 0.2, 0.4, 0.6, 0.8, 1].flatMap((v) => [
        draw("line", { class: "grid", x1: x(0), x2: x(1), y1: y(v), y2: y(v) }),
        draw("text", { x: edge.left - 7, y: y(v) + 4, "text-anchor": "end" }, percent(v, 0)),
        draw("text", { x: x(v), y: 320 - 28, "text-anchor": "middle" }, percent(v, 0))]),
      draw("text", { x: x(0.5), y: 320 - 8, "text-anchor": "middle" }, "probability of the first class"),
      draw("line", { class: "best", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
      ...bins.map(([images, confidence, right]) => {
        const gap = draw("line", { x1: x(confidence), x2: x(confidence), y1: y(confidence), y2: y(right), stroke: "var(--wrong)", "stroke-width": 2 });
        const dot = draw("circle", { cx: x(confidence), cy: y(right), r: 4 + 12 * Math.sqrt(images / most), fill: "var(--first)", "fill-opacity": 0.75 });
        dot.addEventListener("pointermove", (event) => tell(event, several(images, "image"),
          `claimed: ${percent(confidence, 1)}`, `right: ${percent(right, 1)}`));
        dot.addEventListener("pointerleave", hush);
        return draw("g", {}, gap, dot);
      }));
  });
}
