// The monitor's page: listens to the live feed and shows it. It computes nothing that the monitor could tell it.
import { Chart, clock, number, sparkline } from "./chart.js";

const WINDOW = 600; // seconds that the charts show at most, …
const LEAST_WINDOW = 120; // … and at least: a young pipeline's lines need not hide in a corner
const STALE = 3; // seconds without a reading after which a figure is stale
const SILENT = 6; // seconds without a message after which the monitor itself is
const SPARK = 120; // seconds that the small lines show
const RECONNECT = [500, 5000]; // milliseconds before a new try: at first, at most
const HOPS = { producer: "Producer", kafka: "Kafka", cassandra: "Cassandra", lag: "Lag" };
const SERVICES = { producer: "Producer", kafka: "Kafka", cassandra: "Cassandra", flink: "Flink" };
const SHAPES = {
  up: '<circle cx="12" cy="12" r="9"/>',
  down: '<path d="M3 3h18v18H3zM8 6.5 6.5 8l4 4-4 4L8 17.5l4-4 4 4 1.5-1.5-4-4 4-4L16 6.5l-4 4z" fill-rule="evenodd"/>',
  unknown: '<path d="M12 3l9 9-9 9-9-9z" stroke-dasharray="4 3"/>',
};

const $ = (selector, within = document) => within.querySelector(selector);
const swatch = (name) => `<svg class="swatch ${name}" viewBox="0 0 32 12" aria-hidden="true"><path class="line ${name}" d="M2 6H30"/></svg>`;

let now = null; // the newest overview
let stage = { drill: null, bands: [] };
let points = [];
let heard = performance.now(); // when the last message came
let skew = 0; // seconds by which the monitor's clock is ahead of ours
let connected = false;

const time = () => Date.now() / 1000 + skew;
const sinceHeard = () => (performance.now() - heard) / 1000;

// -- the live feed --

let delay = RECONNECT[0];

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
  // A frozen monitor keeps its connections: silence, not only an end, is a reason for a new one.
  const watch = setInterval(() => { if (sinceHeard() > SILENT) socket.close(); }, 1000);
  let opened = false;
  heard = Math.max(heard, performance.now() - SILENT * 1000 + 2000); // a new connection gets two seconds
  socket.addEventListener("message", (event) => {
    opened = connected = true;
    delay = RECONNECT[0];
    heard = performance.now();
    take(JSON.parse(event.data));
  });
  socket.addEventListener("close", () => {
    clearInterval(watch);
    connected = false;
    render();
    if (!opened) askForLogIn();
    setTimeout(connect, delay);
    delay = Math.min(RECONNECT[1], delay * 2);
  });
}

/** A session that is over looks like any refused connection; only a request can tell. */
async function askForLogIn() {
  const answer = await fetch("/monitor", { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.status === 401) location.assign("/login");
}

function take(message) {
  stage = message.stage;
  if (message.history) {
    const { time: times, producer, kafka, cassandra, lag } = message.history;
    points = times.map((at, i) => ({ time: at, producer: producer[i], kafka: kafka[i], cassandra: cassandra[i], lag: lag[i] }));
  }
  if (message.now) {
    now = message.now;
    skew = now.time - Date.now() / 1000;
    const read = (hop) => (now[`${hop}_reachable`] ? now[hop === "lag" ? "lag" : `${hop}_count`] : null);
    if (!points.length || now.time - points.at(-1).time > 0.5) {
      points.push({ time: now.time, producer: read("producer"), kafka: read("kafka"), cassandra: read("cassandra"), lag: read("lag") });
    }
    while (points[0].time < now.time - WINDOW) points.shift();
  }
  render(true);
}

// -- showing it --

const figures = Object.fromEntries(Object.entries(HOPS).map(([name, title]) => {
  const card = document.createElement("article");
  card.className = `hop ${name}`;
  card.innerHTML = `<h2>${swatch(name)}${title}</h2><p class="age number"></p><p class="count">–</p><p class="rate">–</p>
    <svg class="spark" viewBox="0 0 120 32" preserveAspectRatio="none" aria-hidden="true"></svg><p class="note"></p>`;
  $("#figures").append(card);
  return [name, card];
}));

const lamps = Object.fromEntries(Object.entries(SERVICES).map(([name, title]) => {
  const lamp = document.createElement("li");
  lamp.id = `lamp-${name}`;
  lamp.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"></svg><b>${title} <span></span></b><small></small>`;
  $("#lamps").append(lamp);
  return [name, lamp];
}));

$(".legend").innerHTML = ["producer", "kafka", "cassandra"].map((name) => `<li>${swatch(name)}${name}</li>`).join("");
const charts = [
  new Chart($("#counts"), ["producer", "kafka", "cassandra"], "Events at each hop over the last ten minutes"),
  new Chart($("#lag"), ["lag"], "Lag over the last ten minutes"),
];

function put(element, text) { if (element.textContent !== text) element.textContent = text; }

function ago(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s ago`;
  return seconds < 120 ? `${Math.floor(seconds)} s ago` : `${Math.floor(seconds / 60)} min ago`;
}

function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function size(bytes) {
  const power = Math.min(3, Math.floor(Math.log2(Math.max(1, bytes)) / 10)), value = bytes / 2 ** (10 * power);
  return `${value.toFixed(value < 10 && power ? 1 : 0)} ${["B", "KB", "MB", "GB"][power]}`;
}


function render(fresh = false) {
  if (document.hidden) return;
  renderLink();
  renderDrill();
  if (!now) return;
  put($("#pipeline"), now.pipeline);
  document.title = `${stage.drill && !stage.drill.verdict ? `${stage.drill.phase.name} · ` : ""}lag ${now.lag ?? "?"} · Event log`;
  for (const name of Object.keys(HOPS)) renderFigure(name);
  for (const name of Object.keys(SERVICES)) renderLamp(name);
  renderControls();
  if (fresh) renderCharts();
}

function renderLink() {
  const lost = !connected && now !== null;
  $("#link").classList.toggle("lost", lost);
  if (lost) put($("#link"), `the monitor does not answer, last heard ${ago(sinceHeard())}; trying again`);
  else put($("#link"), now ? "live" : "connecting …");
}

function renderFigure(name) {
  const card = figures[name];
  const known = now[`${name}_age`];
  const age = known === null ? null : known + sinceHeard();
  const stale = age === null || age > STALE;
  card.classList.toggle("stale", stale);
  put($(".age", card), age === null ? "not seen yet" : stale ? `stale, last seen ${ago(age)}` : ago(age));
  const count = name === "lag" ? now.lag : now[`${name}_count`];
  put($(".count", card), count === null ? "–" : number(count));
  const rate = name === "lag" ? lagRate() : now[`${name}_rate`];
  put($(".rate", card), stale || rate === null ? "–" : `${rate < 0 ? "−" : "+"}${Math.abs(rate).toFixed(1)}/s`);
  const [text, alarm] = note(name, stale);
  put($(".note", card), text);
  $(".note", card).classList.toggle("alarm", alarm);
  sparkline($(".spark", card), name === "lag" ? recent().map((point) => point.lag) : speeds(name), name);
}

/** What is to be said about a figure, and whether it is a warning. */
function note(name, stale) {
  if (name === "producer" && now.producer_state !== "up") return [`the producer is ${now.producer_state}: ${now.reason ?? "no answer"}`, true];
  if (stale) return [now[`${name}_error`] ?? "", true];
  if (name === "producer") {
    const spool = `${number(now.buffered ?? 0)} buffered, spool ${size(now.spool_bytes ?? 0)} of ${size(now.spool_limit_bytes)}`;
    return now.is_streaming ? [spool, false] : [`not streaming: ${now.reason}; ${spool}`, true];
  }
  if (name === "kafka") return [`${number(now.dead_letters ?? 0)} dead letters`, (now.dead_letters ?? 0) > 0];
  if (name === "cassandra") return [`rows; ${number(now.rejected ?? 0)} rejected`, (now.rejected ?? 0) > 0];
  return ["records in Kafka not yet processed", false];
}

const recent = () => points.filter((point) => point.time > points.at(-1).time - SPARK);

/** Events per second between points some seconds apart, so that single events do not make it flicker. */
function speeds(name) {
  const shown = recent();
  return shown.map((point, index) => {
    const before = shown[index - 5];
    if (!before || before[name] === null || point[name] === null) return null;
    return Math.max(0, (point[name] - before[name]) / (point.time - before.time));
  });
}

function lagRate() {
  const shown = recent(), last = shown.at(-1), before = shown.at(-11) ?? shown[0];
  if (!before || before === last || before.lag === null || last.lag === null) return null;
  return (last.lag - before.lag) / (last.time - before.time);
}

function renderLamp(name) {
  const lamp = lamps[name];
  const state = connected ? now[`${name}_state`] : "unknown";
  if (lamp.className !== state) {
    lamp.className = state;
    $("svg", lamp).innerHTML = SHAPES[state];
  }
  put($("span", lamp), state);
  const since = now[`${name}_since`];
  const job = name === "flink" && state === "up" ? `job ${now.job_state ?? "absent"} ${now.tasks_running ?? 0}/${now.tasks_total ?? 0} tasks, ` : "";
  put($("small", lamp), connected ? `${job}since ${clock(since)} (${span(time() - since)})` : "the monitor does not answer");
}

function renderDrill() {
  const box = $("#drill"), drill = stage.drill;
  box.hidden = drill === null;
  if (!drill) return;
  const { phase, verdict } = drill;
  const tone = verdict ? ({ PASS: "pass", FAIL: "fail" }[verdict.outcome] ?? "doubt") : phase.kind;
  box.className = tone;
  put($(".title", box), drill.title);
  const away = stage.bands.filter((band) => band.kind === "fault" && band.until === null).map((band) => band.name);
  put($(".phase", box), verdict ? `${verdict.outcome}: ${verdict.reason}` : `${phase.name}${away.length ? ` (${away.join(", ")})` : ""}`);
  const bar = $("progress", box);
  const passed = Math.max(0, time() - phase.since), whole = phase.until === null ? null : phase.until - phase.since;
  bar.hidden = Boolean(verdict);
  if (verdict) put($(".time", box), `took ${span(drill.time - drill.began)}`);
  else if (whole === null) { bar.removeAttribute("value"); put($(".time", box), minutes(passed)); }
  else {
    bar.value = Math.min(1, passed / whole);
    put($(".time", box), passed > whole + 1 ? `${minutes(passed)}, planned ${minutes(whole)}` : `${minutes(passed)} of ${minutes(whole)}`);
  }
}

function renderCharts() {
  const to = now.time, first = points[0]?.time ?? to;
  const from = Math.max(to - WINDOW, Math.min(first, to - LEAST_WINDOW));
  for (const chart of charts) chart.show(points, stage.bands, from, to);
}

// -- controls --

function renderControls() {
  const up = connected && now.producer_state === "up";
  for (const id of ["stream", "rate", "set"]) $(`#${id}`).disabled = !up;
  put($("#stream"), now.is_streaming || now.reason !== "paused" ? "Pause" : "Resume");
  const rate = $("#rate");
  if (document.activeElement !== rate && !rate.dataset.changed && now.rate !== null) rate.value = now.rate;
}

async function ask(path, body, said) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body),
  }).catch(() => null);
  if (answer?.status === 401) location.assign("/login");
  const problem = answer?.ok ? "" : (await answer?.json().catch(() => null))?.detail ?? "the monitor does not answer";
  $("#said").classList.toggle("refused", problem !== "");
  put($("#said"), problem || said);
}

$("#stream").addEventListener("click", () => {
  const resume = $("#stream").textContent === "Resume";
  ask(`/api/v1/${resume ? "resume" : "pause"}`, null, resume ? "resumed" : "paused");
});
$("#rate").addEventListener("input", () => { $("#rate").dataset.changed = "yes"; });
$("#controls").addEventListener("submit", async (event) => {
  event.preventDefault();
  const rate = Number($("#rate").value);
  await ask("/api/v1/rate", { rate }, `rate ${rate}/s`);
  delete $("#rate").dataset.changed;
});

const THEMES = { "": ["◐", "as the system has them"], light: ["☀", "light"], dark: ["☾", "dark"] };

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  put($("#theme"), THEMES[theme][0]);
  $("#theme").setAttribute("aria-label", `Colours: ${THEMES[theme][1]}`);
}

$("#theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  localStorage.setItem("theme", next);
  showTheme(next);
});

const remembered = localStorage.getItem("theme");
showTheme(remembered in THEMES ? remembered : "");
put($("#address"), location.href);
document.addEventListener("visibilitychange", () => render(true));
setInterval(() => render(), 500);
connect();
