// The drawings: plain SVG, built from figures, redrawn as a whole.

const SVG = "http://www.w3.org/2000/svg";

export const HOPS = ["producer", "kafka", "cassandra"];

function node(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function text(x, y, content, attributes = {}) {
  return node("text", { x, y, ...attributes }, content);
}

/** Round steps for an axis: 1, 2 or 5 times a power of ten, at most `most` of them up to `end`. */
function ticks(end, most) {
  const rough = end / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, index) => index * step);
}

export function grouped(number) {
  return Math.round(number).toLocaleString("en-GB").replaceAll(",", "\u202f");
}

/** What was away, by service: `flink stopped` rather than a name for each of its processes. */
function nameOf(band) {
  if (band.kind !== "fault") return "recovery";
  const units = band.name.split(", ").map((unit) => unit.replace(/-\S+/, ""));
  return [...new Set(units)].join(", ");
}

function patterns() {
  return node("defs", {},
    node("pattern", { id: "hatch", width: 9, height: 9, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      node("line", { x1: 0, y1: 0, x2: 0, y2: 9, class: "hatch" })),
    node("pattern", { id: "dots", width: 10, height: 10, patternUnits: "userSpaceOnUse" },
      node("circle", { cx: 5, cy: 5, r: 1, class: "dots" })));
}

/** A polyline for every stretch in which the count could be read. */
function stretches(points, column) {
  const found = [];
  let open = null;
  for (const point of points) {
    if (point[column] === null) { open = null; continue; }
    if (open === null) found.push(open = []);
    open.push(point);
  }
  return found;
}

/**
 * The counts since the begin, the lag below them, and bands where something was away or recovering.
 * @param {SVGElement} svg
 * @param {Array} points  [epoch seconds, producer, kafka, cassandra, lag], null where a count could not be read
 * @param {Array} bands  {name, kind, start, end, open}, in epoch seconds
 */
export function timeline(svg, points, bands, running) {
  const narrow = svg.parentElement.clientWidth < 560;
  const width = Math.max(320, svg.parentElement.clientWidth), left = 48, right = narrow ? 12 : 84;
  const top = 22, high = 190, gap = 34, low = 74, height = top + high + gap + low + (narrow ? 44 : 24);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(patterns());
  const seen = points.filter((point) => point.slice(1, 4).some((count) => count !== null));
  if (seen.length < 2) {
    svg.append(text(width / 2, height / 2, running ? "waiting for the first samples" : "no samples", { class: "none", "text-anchor": "middle" }));
    svg.setAttribute("aria-label", "No samples yet");
    return;
  }
  const begin = points[0][0], end = Math.max(points.at(-1)[0], begin + 10);
  const base = Math.min(...[1, 2, 3].map((column) => points.find((point) => point[column] !== null)?.[column] ?? Infinity));
  const most = Math.max(10, ...points.flatMap((point) => point.slice(1, 4).filter((count) => count !== null).map((count) => count - base)));
  const deepest = Math.max(10, ...points.map((point) => point[4] ?? 0));
  const x = (time) => left + ((time - begin) / (end - begin)) * (width - left - right);
  const y = (count) => top + high - (count / most) * high;
  const floor = top + high + gap + low;
  const z = (lag) => floor - (lag / deepest) * low;

  for (const count of ticks(most, 4)) {
    svg.append(node("line", { x1: left, x2: width - right, y1: y(count), y2: y(count), class: count ? "grid" : "base" }));
    svg.append(text(left - 6, y(count) + 4, grouped(count), { class: "axis", "text-anchor": "end" }));
  }
  for (const lag of ticks(deepest, 2)) {
    svg.append(node("line", { x1: left, x2: width - right, y1: z(lag), y2: z(lag), class: lag ? "grid" : "base" }));
    svg.append(text(left - 6, z(lag) + 4, grouped(lag), { class: "axis", "text-anchor": "end" }));
  }
  for (const second of ticks(end - begin, narrow ? 4 : 8)) {
    svg.append(text(x(begin + second), floor + 17, `${second} s`, { class: "axis", "text-anchor": "middle" }));
  }
  let lane = -Infinity;
  for (const band of bands) {
    const from = Math.max(x(band.start), left), to = Math.min(x(band.open ? end : band.end), width - right);
    if (to <= from) continue;
    const box = { x: from, y: top, width: to - from, height: floor - top };
    svg.append(node("rect", { ...box, class: band.kind }), node("rect", { ...box, fill: `url(#${band.kind === "fault" ? "hatch" : "dots"})` }));
    svg.append(node("line", { x1: from, x2: from, y1: top - 4, y2: floor, class: `${band.kind}-edge` }));
    const name = nameOf(band);
    const room = from - lane > 8;
    svg.append(text(from + 5, room ? top - 8 : top + 12, name, { class: `${band.kind}-name` }));
    lane = room ? from + name.length * 6.6 : lane;
  }
  svg.append(text(left, top + high + gap - 10, "lag", { class: "label hop-lag" }));
  for (const stretch of stretches(points, 4)) {
    const line = stretch.map((point) => `${x(point[0]).toFixed(1)},${z(point[4]).toFixed(1)}`);
    svg.append(node("polygon", { points: [`${x(stretch[0][0])},${floor}`, ...line, `${x(stretch.at(-1)[0])},${floor}`].join(" "), class: "area hop-lag" }));
    svg.append(node("polyline", { points: line.join(" "), class: "line hop-lag" }));
  }
  const labels = [];
  HOPS.forEach((hop, index) => {
    const lines = stretches(points, index + 1);
    for (const stretch of lines) {
      const line = stretch.map((point) => `${x(point[0]).toFixed(1)},${y(point[index + 1] - base).toFixed(1)}`);
      svg.append(node("polyline", { points: line.join(" "), class: `line hop-${hop}` }));
    }
    const last = lines.at(-1)?.at(-1);
    if (last) labels.push({ hop, at: y(last[index + 1] - base) });
  });
  if (narrow) {
    HOPS.forEach((hop, index) => svg.append(text(left + index * 100, height - 4, `${["▬", "╌", "─"][index]} ${hop}`, { class: `label hop-${hop}` })));
  } else {
    labels.sort((a, b) => a.at - b.at);
    labels.forEach((label, index) => { if (index) label.at = Math.max(label.at, labels[index - 1].at + 15); });
    const over = Math.max(0, (labels.at(-1)?.at ?? 0) - (top + high));
    for (const label of labels) svg.append(text(width - right + 8, label.at - over + 4, label.hop, { class: `label hop-${label.hop}` }));
  }
  svg.setAttribute("aria-label",
    `Events since the begin over ${Math.round(end - begin)} seconds: ${HOPS.map((hop, index) => `${hop} ${grouped((points.findLast((point) => point[index + 1] !== null)?.[index + 1] ?? base) - base)}`).join(", ")}; deepest lag ${grouped(deepest)}`);
}

/** Each verdict has a shape of its own, so that colour is never the only sign. */
export const VERDICTS = {
  PASS: { sign: "✔", tone: "good", shape: (x, y) => node("circle", { cx: x, cy: y, r: 5 }) },
  DEGRADED: { sign: "▲", tone: "warn", shape: (x, y) => node("path", { d: `M${x} ${y - 6}l6 11h-12z` }) },
  FAIL: { sign: "✘", tone: "bad", shape: (x, y) => node("path", { d: `M${x - 5} ${y - 5}l10 10m0-10l-10 10` }) },
  INVALID: { sign: "◇", tone: "warn", shape: (x, y) => node("path", { d: `M${x} ${y - 6}l6 6-6 6-6-6z`, class: "hollow" }) },
  ABORTED: { sign: "■", tone: "warn", shape: (x, y) => node("rect", { x: x - 5, y: y - 5, width: 10, height: 10 }) },
  UNKNOWN: { sign: "?", tone: "warn", shape: (x, y) => node("circle", { cx: x, cy: y, r: 5, class: "hollow" }) },
};

export function verdictOf(outcome) {
  return VERDICTS[String(outcome).split(" ")[0]] ?? VERDICTS.UNKNOWN;
}

/**
 * Recovery seconds of every run in order; a run that measured none stands on the line below.
 * @param {SVGElement} svg
 * @param {Array} runs  summaries, oldest first
 */
export function trend(svg, runs) {
  const width = Math.max(320, svg.parentElement.clientWidth), left = 48, right = 16, top = 22, high = 150, below = 22;
  const height = top + high + below + 30;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const shown = runs.slice(-Math.floor((width - left - right) / 22));
  if (!shown.length) {
    svg.append(text(width / 2, height / 2, "no runs yet", { class: "none", "text-anchor": "middle" }));
    svg.setAttribute("aria-label", "No runs yet");
    return;
  }
  const most = Math.max(10, ...shown.map((run) => run.recovery ?? 0)) * 1.08;
  const x = (index) => left + 14 + (shown.length > 1 ? (index / (shown.length - 1)) * (width - left - right - 28) : (width - left - right) / 2 - 14);
  const y = (seconds) => top + high - (seconds / most) * high;
  for (const seconds of ticks(most, 4)) {
    svg.append(node("line", { x1: left, x2: width - right, y1: y(seconds), y2: y(seconds), class: seconds ? "grid" : "base" }));
    svg.append(text(left - 6, y(seconds) + 4, `${seconds} s`, { class: "axis", "text-anchor": "end" }));
  }
  for (const drill of new Set(shown.map((run) => run.drill))) {
    const line = shown.map((run, index) => [run, index]).filter(([run]) => run.drill === drill && run.recovery != null);
    const [last, place] = line.at(-1) ?? [];
    if (last) svg.append(text(x(place), y(last.recovery) - 10, drill, { class: "axis", "text-anchor": place && place === shown.length - 1 ? "end" : "middle" }));
    if (line.length > 1) svg.append(node("polyline", { points: line.map(([run, index]) => `${x(index)},${y(run.recovery)}`).join(" "), class: "link-line" }));
  }
  const moments = shown.map((run) => new Date((run.began ?? 0) * 1000).toLocaleString("sv-SE"));
  const oneDay = new Set(moments.map((text) => text.slice(0, 10))).size === 1;
  let written = -Infinity;
  shown.forEach((run, index) => {
    const verdict = verdictOf(run.outcome);
    const at = run.recovery == null ? top + high + below - 4 : y(run.recovery);
    const mark = verdict.shape(x(index), at);
    mark.classList.add("mark");
    const seconds = run.recovery == null ? "no recovery measured" : `recovered in ${run.recovery.toFixed(1)} s`;
    const point = node(run.report ? "a" : "g", { class: verdict.tone, ...(run.report ? { href: `/runs/${run.run}/report.html` } : {}) },
      node("title", {}, `${run.drill}, ${moments[index].slice(0, 16)}: ${run.outcome}, ${seconds}`), mark);
    svg.append(point);
    const label = oneDay ? moments[index].slice(11, 16) : moments[index].slice(5, 10);
    if (x(index) - written > 60) {
      svg.append(text(x(index), height - 6, label, { class: "axis", "text-anchor": index && index === shown.length - 1 ? "end" : "middle" }));
      written = x(index);
    }
  });
  svg.setAttribute("aria-label", `Recovery time of the last ${shown.length} runs; the table below has the figures`);
}
