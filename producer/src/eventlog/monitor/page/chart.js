// Lines over time as SVG. The page's style sheet colours it; nothing is told by colour alone: lines differ in dash and
// weight and carry their names, faults are hatched, recoveries dotted.

const MARGIN = { top: 34, bottom: 24, left: 70, right: 104 };
const NARROW = 560; // pixels below which names are left to the legend
const LABEL_GAP = 16;
const BREAK = 3.5; // usual distances between two points beyond which nothing is known of what was in between

export const number = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

const escape = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** A point is {time, …counts}, time in epoch seconds, a count null where it is not known. */
export class Chart {
  constructor(svg, series, label) {
    this.svg = svg;
    this.series = series; // names; a name is the key in a point and the CSS class of its line
    this.label = label;
    this.points = [];
    this.bands = [];
    this.from = this.to = 0;
    this.picked = null;
    this.reading = document.createElement("div");
    this.reading.className = "reading";
    this.reading.hidden = true;
    this.reading.setAttribute("aria-live", "polite");
    svg.after(this.reading);
    new ResizeObserver(() => this.draw()).observe(svg);
    svg.addEventListener("pointermove", (event) => this.pick(this.nearest(this.timeAt(event.offsetX))));
    svg.addEventListener("pointerleave", () => this.pick(null));
    svg.addEventListener("blur", () => this.pick(null));
    svg.addEventListener("keydown", (event) => this.key(event));
  }

  show(points, bands, from, to) {
    Object.assign(this, { points, bands, from, to });
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (!width || !this.to) return;
    this.narrow = width < NARROW;
    const right = width - (this.narrow ? 8 : MARGIN.right);
    const left = this.narrow ? 52 : MARGIN.left;
    this.area = { left, right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const [low, high] = this.range();
    this.x = (time) => left + ((right - left) * (time - this.from)) / (this.to - this.from);
    this.y = (value) => this.area.bottom - ((this.area.bottom - MARGIN.top) * (value - low)) / (high - low);
    this.svg.innerHTML =
      this.patterns() + this.grid(low, high) + this.timeAxis() + this.drawBands() + this.lines() + this.names() + this.cursor();
    this.svg.setAttribute("aria-label", `${this.label}. ${this.spoken()}`);
  }

  range() {
    const values = this.points.flatMap((point) => this.series.map((name) => point[name])).filter((value) => value !== null);
    if (this.series.length === 1) values.push(0, 10);
    const low = Math.min(...values), high = Math.max(...values);
    if (!Number.isFinite(low)) return [0, 1];
    const room = Math.max((high - low) * 0.05, 1);
    return [Math.max(0, this.series.length === 1 ? 0 : low - room), high + room];
  }

  patterns() {
    const id = this.svg.id;
    return `<defs><pattern id="${id}-fault" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <line class="hatching" x2="0" y2="7"/></pattern><pattern id="${id}-recovery" width="7" height="7"
      patternUnits="userSpaceOnUse"><circle class="dotting" cx="3.5" cy="3.5" r="1"/></pattern></defs>`;
  }

  grid(low, high) {
    const { left, right, top, bottom } = this.area;
    return steps(low, high, Math.max(2, Math.round((bottom - top) / 40)))
      .map((value) => [value, this.y(value)])
      .map(([value, y]) => `<line class="grid" x1="${left}" x2="${right}" y1="${y}" y2="${y}"/>
        <text x="${left - 8}" y="${y + 4}" text-anchor="end">${number(value)}</text>`)
      .join("");
  }

  timeAxis() {
    const { left, right, bottom } = this.area;
    const wanted = (right - left) / 110;
    const step = [5, 10, 15, 30, 60, 120, 300, 600].find((size) => (this.to - this.from) / size <= wanted) ?? 600;
    let drawn = `<line class="base" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`;
    for (let time = Math.ceil(this.from / step) * step; time <= this.to; time += step) {
      const x = this.x(time);
      const text = step < 60 ? clock(time) : clock(time).slice(0, 5);
      drawn += `<line class="base" x1="${x}" x2="${x}" y1="${bottom}" y2="${bottom + 5}"/>`;
      if (x < right - 16) drawn += `<text x="${x}" y="${bottom + 18}" text-anchor="middle">${text}</text>`;
    }
    return drawn;
  }

  drawBands() {
    const { left, right, bottom } = this.area;
    const ends = [-Infinity, -Infinity]; // how far the names on the two levels reach
    let drawn = "";
    for (const band of this.bands) {
      const x1 = Math.max(left, this.x(band.since)), x2 = Math.min(right, this.x(band.until ?? this.to));
      if (x2 <= left || x1 >= right) continue;
      const box = `x="${x1}" y="${MARGIN.top}" width="${Math.max(1, x2 - x1)}" height="${bottom - MARGIN.top}"`;
      drawn += `<rect class="wash ${band.kind}" ${box}/><rect fill="url(#${this.svg.id}-${band.kind})" ${box}/>
        <line class="bound ${band.kind}" x1="${x1}" x2="${x1}" y1="${MARGIN.top - 4}" y2="${bottom}"/>`;
      const size = 7.5 * band.name.length;
      const level = ends[0] < x1 ? 0 : 1;
      if (ends[level] >= x1) continue; // no room for its name: the bands beside it say what goes on
      const anchor = x1 + size > this.svg.clientWidth ? "end" : "start";
      ends[level] = anchor === "end" ? Infinity : x1 + size;
      drawn += `<text class="${band.kind}" x="${anchor === "end" ? x2 : x1}" y="${28 - 15 * level}"
        text-anchor="${anchor}">${escape(band.name)}</text>`;
    }
    return drawn;
  }

  lines() {
    return this.series.map((name) => {
      const runs = this.runs(name);
      const path = runs.map((run) => `M${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`).join("");
      const shape = this.series.length > 1 ? "" : runs.map((run) =>
        `M${run[0][0]} ${this.area.bottom}L${run.map((at) => at.join(" ")).join("L")}L${run.at(-1)[0]} ${this.area.bottom}Z`).join("");
      return (shape && `<path class="area ${name}" d="${shape}"/>`) + `<path class="line ${name}" d="${path}"/>`;
    }).join("");
  }

  /** Stretches of points that may be joined. */
  runs(name) {
    const runs = [];
    let before = null;
    for (const point of this.points) {
      const value = point[name];
      if (value === null || point.time < this.from) { before = null; continue; }
      if (before === null || point.time - before > BREAK * this.distance()) runs.push([]);
      runs.at(-1).push([this.x(point.time), this.y(value)]);
      before = point.time;
    }
    return runs;
  }

  distance() {
    const gaps = this.points.slice(1).map((point, index) => point.time - this.points[index].time).sort((a, b) => a - b);
    return gaps[gaps.length >> 1] ?? 1;
  }

  /** Names at the ends of the lines, pushed apart where the lines meet. */
  names() {
    if (this.narrow) return "";
    const ends = this.series
      .map((name) => ({ name, last: this.points.findLast((point) => point[name] !== null) }))
      .filter((end) => end.last)
      .map((end) => ({ name: end.name, y: this.y(end.last[end.name]) }))
      .sort((a, b) => a.y - b.y);
    ends.forEach((end, index) => { if (index) end.y = Math.max(end.y, ends[index - 1].y + LABEL_GAP); });
    const shift = ends.length ? Math.max(0, ends.at(-1).y - this.area.bottom) : 0;
    return ends.map(({ name, y }) => `<path class="line ${name}" d="M${this.area.right + 6} ${y - shift}h16"/>
      <text class="key" x="${this.area.right + 28}" y="${y - shift + 4}">${name}</text>`).join("");
  }

  cursor() {
    const point = this.picked;
    this.reading.hidden = point === null;
    if (point === null) return "";
    const x = this.x(point.time);
    const rows = this.series.map((name) => `<dt>${name}</dt><dd>${point[name] === null ? "not read" : number(point[name])}</dd>`);
    this.reading.innerHTML = `<b>${clock(point.time)}</b><dl>${rows.join("")}</dl>`;
    const offset = this.svg.offsetLeft + (x > this.svg.clientWidth / 2 ? x - this.reading.offsetWidth - 14 : x + 14);
    this.reading.style.left = `${offset}px`;
    const { top, bottom } = this.area;
    return `<line class="cursor" x1="${x}" x2="${x}" y1="${top}" y2="${bottom}"/>`;
  }

  spoken() {
    const last = this.points.at(-1);
    if (!last) return "Nothing has been read yet.";
    return this.series.map((name) => `${name} ${last[name] === null ? "not read" : last[name]}`).join(", ");
  }

  // -- reading a moment --

  timeAt(x) { return this.from + ((x - this.area.left) / (this.area.right - this.area.left)) * (this.to - this.from); }

  nearest(time) {
    const visible = this.points.filter((point) => point.time >= this.from);
    return visible.reduce((best, point) => best && Math.abs(best.time - time) <= Math.abs(point.time - time) ? best : point, null);
  }

  pick(point) { this.picked = point; this.draw(); }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") this.pick(null);
    if (by === undefined || !this.points.length) return;
    event.preventDefault();
    const at = this.picked ? this.points.indexOf(this.picked) : this.points.length;
    this.pick(this.points[Math.min(this.points.length - 1, Math.max(0, at + by))]);
  }
}

/** Round values from low to high, about as many as wanted. */
function steps(low, high, wanted) {
  const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= raw) * power);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(value);
  return found;
}

/** A small line without axes; values may be null. */
export function sparkline(svg, values, name) {
  const high = Math.max(10, ...values) * 1.1;
  let path = "", pen = "M";
  values.forEach((value, index) => {
    if (value === null) { pen = "M"; return; }
    path += `${pen}${((index / Math.max(1, values.length - 1)) * 120).toFixed(1)} ${(30 - (28 * value) / high).toFixed(1)}`;
    pen = "L";
  });
  svg.innerHTML = `<line class="base" x2="120" y1="31" y2="31"/><path class="line ${name}" d="${path}"/>`;
}
