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
    if (now.width && Math.abs(now.width - width) > 1) paint(width = now.width); // none while a page is printed
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

const stroked = ({ colour, dash = "", width = 2 }) => ({ stroke: `var(--${colour})`, "stroke-width": width, ...(dash && { "stroke-dasharray": dash }) });

/** Draw lines.
 * lines: {name, values, colour, dash, width}; top, bottom: what the upright axis may or must reach.
 * along: {name, values, show, whole, hovers}, the other axis; where charts share it, a row of one is pointed at in all.
 * best: the row to mark. */
function curve(host, { title, lines, along, best, format, ...limits }) {
  const seen = axis(lines.flatMap((line) => line.values).filter((v) => v !== null), limits);
  const caption = make("figcaption", {}, title + (seen.log ? ", logarithmic" : ""), lines.length < 2 ? [] : lines.map((line) => {
    const mark = make("i");
    mark.style.borderTop = `${line.width ?? 2}px ${line.dash ? "dashed" : "solid"} var(--${line.colour})`;
    return make("span", { class: "key" }, mark, make("bdi", {}, line.name));
  }));
  const picture = draw("svg", { height: 230, tabindex: 0, role: "img",
    "aria-label": `${title} over ${along.name}; arrow keys read the values` });
  host.append(make("figure", { class: "chart" }, caption, picture));
  const edge = { left: 54, right: 12, top: 16, bottom: 32 }, height = 230 - edge.top - edge.bottom;
  const { values: rows, hovers } = along, [first, last] = [rows[0], rows.at(-1)];
  let at, row = -1;
  const x = (i) => at(rows[i]);
  const y = (v) => edge.top + height * (1 - seen.place(v));
  const marker = draw("g", { visibility: "hidden" });

  redrawn(picture, (width) => {
    const inner = width - edge.left - edge.right;
    at = (value) => edge.left + (last === first ? inner / 2 : (inner * (value - first)) / (last - first));
    const steps = last === first ? [first] : ticks(first, last, Math.min(8, width / 60)).filter((v) => !along.whole || Number.isInteger(v));
    picture.replaceChildren(
      ...seen.marks.map((v) => draw("g", {},
        draw("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(v), y2: y(v) }),
        draw("text", { x: edge.left - 7, y: y(v) + 4, "text-anchor": "end" }, format(v, true)))),
      ...steps.map((v) => draw("text", { y: 230 - 14, x: at(v), "text-anchor": "middle" }, along.show(v, true))),
      draw("text", { x: width - edge.right, y: 230, "text-anchor": "end" }, along.name),
      ...(best === null ? [] : [
        draw("line", { class: "best", x1: x(best), x2: x(best), y1: edge.top, y2: edge.top + height }),
        draw("text", { x: Math.min(Math.max(x(best), edge.left + 18), width - 26), y: 11, "text-anchor": "middle" }, "best")]),
      ...lines.flatMap(strokes), marker);
    point(row);
  });

  function strokes(line) {
    const { values } = line;
    const known = values.map((v, i) => [v, i]).filter(([v]) => v !== null);
    const path = known.map(([v, i]) => `${i && values[i - 1] !== null ? "L" : "M"}${x(i)},${y(v)}`).join("");
    const dots = known.length > 40 ? [] : known.map(([v, i]) => draw("circle", { cx: x(i), cy: y(v), r: 2.5, fill: `var(--${line.colour})` }));
    return [draw("path", { d: path, fill: "none", "stroke-linejoin": "round", ...stroked(line) }), ...dots];
  }

  function point(i) {
    row = i;
    marker.setAttribute("visibility", i < 0 ? "hidden" : "visible");
    if (i < 0 || !at) return;
    marker.replaceChildren(draw("line", { class: "at", x1: x(i), x2: x(i), y1: edge.top, y2: edge.top + height }),
      ...lines.filter((l) => l.values[i] !== null).map((l) => draw("circle", { cx: x(i), cy: y(l.values[i]), r: 4.5, fill: `var(--${l.colour})` })));
  }
  hovers.push(point);

  const tellOf = (event, i) => {
    for (const other of hovers) other(i);
    tell(event, `${along.name} ${along.show(rows[i])}${i === best ? ", the best" : ""}`,
      ...lines.map((l) => make("span", {}, make("bdi", {}, l.name), `: ${format(l.values[i])}`)));
  };
  const leave = () => { hush(); for (const other of hovers) other(-1); };
  picture.addEventListener("pointermove", (event) => {
    const here = event.clientX - picture.getBoundingClientRect().left;
    tellOf(event, rows.reduce((near, _, i) => (Math.abs(x(i) - here) < Math.abs(x(near) - here) ? i : near), 0));
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const i = row < 0 ? (best ?? rows.length - 1) : Math.min(Math.max(row + step, 0), rows.length - 1);
    const { left, top: above } = picture.getBoundingClientRect();
    tellOf({ clientX: left + x(i), clientY: above + edge.top }, i);
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
