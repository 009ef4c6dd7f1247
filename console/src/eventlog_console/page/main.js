// The page: what the feed says is shown, what is clicked is a request. It decides nothing.

import { HOPS, VERDICTS, grouped, timeline, trend, verdictOf } from "./draw.js";

const at = (id) => document.getElementById(id);
const FIGURES = [...HOPS, "lag"];
const SIGNS = { done: "✔", failed: "✘", now: "▸", todo: "", skipped: "–" };
const ROWS = 12; // of the history, until more are asked for

const state = { catalogue: null, job: null, drill: null, units: null, counts: null, history: [], points: [], log: "", all: false, heard: 0 };

function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") element.textContent = value;
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Set text only when it differs, so that screen readers and selections are left alone. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

const now = () => Date.now() / 1000;

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

function moment(seconds) {
  return new Date(seconds * 1000).toLocaleString("sv-SE", { dateStyle: "short", timeStyle: "short" });
}

function megabytes(bytes) {
  return `${grouped(bytes / 1048576)}\u202fMB`;
}

// -- asking ----------------------------------------------------------------------------------------------------------

async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  if (answer.status === 401) { location.assign("/login"); }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.detail ?? `the console answered ${answer.status}`);
  return found;
}

let toasted;
function toast(text) {
  say(at("toast"), text);
  clearTimeout(toasted);
  toasted = setTimeout(() => { at("toast").hidden = true; }, 8000);
}

async function play(playbook, options = {}) {
  try {
    await ask("/api/v1/jobs", { playbook, options });
    at("now").focus({ preventScroll: true });
    at("now").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "start" });
  } catch (error) {
    toast(error.message);
  }
}

// -- the run ---------------------------------------------------------------------------------------------------------

const busy = () => Boolean(state.job?.running || state.drill?.alive);

/** The run in one word, with the tone of its badge. */
function verdict() {
  const { job, drill } = state;
  if (job?.running) return job.cancelled ? { word: job.drill ? "cancelling, healing" : "cancelling", tone: "warn", sign: "◌" } : { word: "running", tone: "busy", sign: "▸" };
  if (drill?.alive) return { word: "running", tone: "busy", sign: "▸" };
  if (showsDrill() && drill.verdict) return { word: drill.verdict.outcome, ...verdictOf(drill.verdict.outcome) };
  if (!job) return null;
  const ends = {
    successful: { word: "done", tone: "good", sign: "✔" }, failed: { word: "failed", tone: "bad", sign: "✘" },
    canceled: { word: "cancelled", tone: "warn", sign: "■" }, lost: { word: "killed from outside", tone: "bad", sign: "✘" },
  };
  return ends[job.outcome?.status] ?? null;
}

/** Whether the newest drill is what the panel is about, rather than a service that was started or stopped since. */
function showsDrill() {
  const { job, drill } = state;
  return Boolean(drill && (!job || drill.alive || drill.ours || (!job.drill && !job.running && drill.began > job.began)));
}

function showRun() {
  const { job, drill } = state;
  const about = showsDrill();
  const elsewhere = about && !drill.ours;
  const title = about ? drill.title : job?.title;
  at("now-title").textContent = title ?? "Nothing has been run yet";
  const started = about ? drill.began : job?.began;
  const running = Boolean(job?.running || drill?.alive);
  at("now-kicker").textContent = !title ? "Run" : running ? `Running since ${moment(started)}${elsewhere ? ", started from a terminal" : ""}` : `Last run, ${moment(started)}`;
  const found = verdict();
  say(at("now-badge"), found ? `${found.sign} ${found.word}` : "");
  at("now-badge").className = `badge ${found?.tone ?? ""}`;
  at("cancel").hidden = !job?.running;
  at("cancel").disabled = Boolean(job?.cancelled);
  at("cancel").textContent = job?.drill ? "Cancel and heal" : "Cancel";
  at("now-report").hidden = !(about && drill.report && drill.verdict);
  if (about) at("now-report").href = `/runs/${drill.name}/report.html`;
  const lost = !running && job?.outcome?.status === "lost" && !(about && drill.verdict);
  const reason = about && drill.verdict ? drill.verdict.reason
    : lost ? "Its process was ended from outside. What a drill had taken away its lease gives back within minutes; Heal does it now." : drill?.error ?? "";
  say(at("now-text"), about || lost ? reason : "");
  const command = job && (!about || drill.ours) ? job.shown : about ? drill.command.join(" ") : "";
  at("now-command").hidden = !command;
  at("now-command").querySelector("code").textContent = job?.cancelled && job.shown_heal && !elsewhere ? `${command} ; ${job.shown_heal}` : command;
  at("rehearsal").hidden = !about;
  if (about) { showSteps(); showFigures(); }
  showProgress();
  for (const button of document.querySelectorAll("[data-play], #run")) button.disabled = busy();
  at("run").textContent = busy() ? "A run is under way" : "Run the drill";
  at("log-box").hidden = !job || elsewhere;
}

function showProgress() {
  const { job, drill } = state;
  const running = Boolean(job?.running || drill?.alive);
  at("progress").hidden = !running;
  if (!running) return;
  const step = showsDrill() ? drill.steps.find((each) => each.state === "now") : null;
  const began = step?.began ?? (showsDrill() ? drill.began : job.began);
  const elapsed = Math.max(0, now() - began);
  at("progress-name").textContent = job?.cancelled ? "Healing" : step?.name ?? job?.title ?? drill.title;
  const total = step?.planned;
  at("progress-time").textContent = total ? `${span(Math.min(elapsed, total))} of ${span(total)}` : span(elapsed);
  const bar = at("progress").querySelector(".bar");
  bar.classList.toggle("open", !total);
  const share = total ? Math.min(1, elapsed / total) * 100 : 0;
  if (total) { at("progress-bar").style.width = `${share}%`; bar.setAttribute("aria-valuenow", Math.round(share)); }
  else { at("progress-bar").style.width = ""; bar.removeAttribute("aria-valuenow"); }
}

function checked(check) {
  const kind = check.ok === true ? "met" : check.ok === false ? "unmet" : "unjudged";
  const mark = { met: "✔", unmet: "✘", unjudged: "?" }[kind];
  return made("li", { className: kind, text: `${check.subject} ${check.expected} ${mark}${check.ok === true ? "" : ` ${check.seen} (${check.detail})`}`, title: check.detail });
}

function recovered(recovery) {
  if (!recovery) return [];
  const marks = Object.entries(recovery.at ?? {}).filter(([, seconds]) => seconds !== null).map(([name, seconds]) => `${name} ${seconds.toFixed(1)} s`);
  return [made("p", { text: marks.join(" ▸ ") })];
}

function showSteps() {
  const items = state.drill.steps.map((step) => {
    const took = step.ended ? span(step.ended - step.began) : "";
    const item = made("li", { className: step.state, "data-sign": SIGNS[step.state] },
      made("div", { className: "name" }, made("b", { text: step.name }), made("span", { className: "number", text: took })));
    if (step.text) item.append(made("p", { text: step.text }));
    if (step.checks.length) item.append(made("ul", {}, ...step.checks.map(checked)));
    item.append(...recovered(step.recovery));
    if (step.state === "now") item.setAttribute("aria-current", "step");
    return item;
  });
  at("steps").replaceChildren(...items);
}

function showFigures() {
  const points = state.points;
  const last = points.at(-1);
  const items = FIGURES.map((hop, index) => {
    const column = index + 1;
    const value = last?.[column];
    const seen = points.findLast((point) => point[column] !== null);
    const gone = last && value === null;
    const before = points.findLast((point) => point[column] !== null && point[0] <= (seen?.[0] ?? 0) - 3);
    const rate = seen && before ? (seen[column] - before[column]) / (seen[0] - before[0]) : null;
    const running = Boolean(state.drill.alive || state.job?.running);
    const note = gone && running ? (seen ? `not readable, seen ${span(last[0] - seen[0])} ago` : "not readable") : rate === null || !running ? "" : `${rate > 0 ? "+" : ""}${rate.toFixed(1)}/s`;
    return made("div", { className: `hop-${hop}${gone ? " gone" : ""}` }, made("dt", { text: hop }),
      made("dd", {}, seen ? grouped(seen[column]) : "–", made("small", { text: note })));
  });
  at("figures").replaceChildren(...items);
}

function showTimeline() {
  if (showsDrill()) {
    const ongoing = !state.drill.ended;
    const bands = (state.drill.bands ?? []).map((band) => ({ ...band, open: ongoing && band.kind === "fault" && band.open }));
    timeline(at("timeline"), state.points, bands, ongoing);
  }
}

function showLog() {
  const box = at("log");
  const below = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.textContent = state.log;
  at("log-count").textContent = state.log ? `${state.log.trimEnd().split("\n").length} lines` : "empty so far";
  if (below) box.scrollTop = box.scrollHeight;
}

// -- services --------------------------------------------------------------------------------------------------------

const cards = new Map();
const VERBS = ["start", "stop", "restart", "kill"];

function unitsOf(service) {
  const hosts = Object.entries(state.units?.hosts ?? {});
  return hosts.flatMap(([host, found]) => found.units
    .filter((unit) => unit.unit === service || unit.unit.startsWith(`${service}-`) || (service === "producer" && unit.unit === "monitor"))
    .map((unit) => ({ ...unit, host: hosts.length > 1 ? host : "" })));
}

/** Whether a service is well: the monitor's figures are a second old, the look at the units may be a minute old. */
function lampOf(service, units) {
  const own = units.filter((unit) => unit.unit !== "monitor");
  const up = own.filter((unit) => unit.up).length;
  const counts = state.counts?.[service];
  if (counts) {
    if (service === "producer" && counts.alive) return counts.streaming ? { sign: "●", word: `streaming ${counts.rate}/s`, tone: "good" } : { sign: "◐", word: counts.reason || "paused", tone: "warn" };
    if (service === "flink" && counts.reachable) {
      const well = counts.state === "RUNNING" && counts.tasks_running === counts.tasks_total;
      return well ? { sign: "●", word: "job running", tone: "good" } : { sign: "◐", word: `job ${String(counts.state).toLowerCase()}, ${counts.tasks_running} of ${counts.tasks_total} tasks`, tone: "warn" };
    }
    if (service !== "producer" && counts.reachable) return { sign: "●", word: "up", tone: "good" };
    return { sign: "○", word: service === "producer" ? "down" : "does not answer", tone: "bad" };
  }
  if (!own.length) return { sign: "◌", word: "unknown", tone: "" };
  if (up === own.length) return { sign: "●", word: "up", tone: "good" };
  return up ? { sign: "◐", word: `${up} of ${own.length} up`, tone: "warn" } : { sign: "○", word: "down", tone: "bad" };
}

function card(service) {
  const lamp = made("span", { className: "lamp" }), units = made("div", { className: "units" });
  const buttons = VERBS.map((verb) => {
    const button = made("button", { type: "button", className: verb === "kill" ? "danger" : "", text: verb[0].toUpperCase() + verb.slice(1), "data-play": verb, "aria-label": `${verb} ${service}` });
    button.addEventListener("click", () => play(verb, { service }));
    return button;
  });
  if (service === "producer") {
    for (const [verb, label] of [["pause_producer", "Pause"], ["resume_producer", "Resume"]]) {
      const button = made("button", { type: "button", className: "wide", text: label, "data-play": verb, "aria-label": `${label} the producer` });
      button.addEventListener("click", () => play(verb));
      buttons.push(button);
    }
  }
  const element = made("li", { className: "card" }, made("h3", {}, made("span", { text: service }), lamp), units, made("div", { className: "buttons" }, ...buttons));
  return { element, lamp, units };
}

function showServices() {
  for (const service of state.catalogue?.services ?? []) {
    if (!cards.has(service)) {
      cards.set(service, card(service));
      at("service-list").append(cards.get(service).element);
    }
    const { lamp, units } = cards.get(service);
    const found = unitsOf(service);
    const { sign, word, tone } = lampOf(service, found);
    lamp.className = `lamp ${tone}`;
    say(lamp, `${sign} ${word}`);
    // What was seen before a run began may not be true any more.
    const { job } = state;
    units.classList.toggle("old", Boolean(job) && (job.running || (state.units?.at ?? 0) < (job.outcome?.ended ?? 0)));
    units.replaceChildren(...found.map((unit) => made("p", {},
      made("span", { text: unit.unit.replace(`${service}-`, "") + (unit.host ? ` on ${unit.host}` : "") }),
      made("span", { text: unit.up ? `pid ${unit.pid}${unit.processes > 1 ? ` +${unit.processes - 1}` : ""} · ${megabytes(unit.bytes)}` : "not running" }))));
  }
  say(at("units-error"), state.units?.error ?? "");
  showAges();
}

function showAges() {
  const seen = state.units;
  at("looked").textContent = state.job?.running && seen?.at ? "processes as seen before the run" : seen?.looking ? "looking at the processes …" : seen?.at ? `processes seen ${span(now() - seen.at)} ago` : "";
  const quiet = now() - state.heard;
  const link = at("link");
  const live = source.readyState === EventSource.OPEN;
  link.className = `link ${live ? "live" : "lost"}`;
  const text = live ? "live" : state.heard ? `no connection to the console for ${span(quiet)}` : "connecting";
  if (link.textContent !== text) link.textContent = text;
}

// -- the form --------------------------------------------------------------------------------------------------------

function control(option) {
  const id = `option-${option.name}`;
  const common = { id, "aria-describedby": `${id}-help` };
  if (option.kind === "choice") return made("select", common, ...option.choices.map((choice) => made("option", { value: choice, text: choice, selected: choice === option.default })));
  if (option.kind === "boolean") return made("input", { ...common, type: "checkbox", checked: option.default });
  return made("input", { ...common, type: "number", min: 0, step: option.kind === "integer" ? 1 : "any", value: option.default, required: true });
}

function valueOf(option) {
  const field = at(`option-${option.name}`);
  return option.kind === "boolean" ? field.checked : option.kind === "choice" ? field.value : Number(field.value);
}

const chosen = () => state.catalogue.drills.find((drill) => drill.name === at("drill").value);

function changed() {
  return Object.fromEntries(chosen().options.map((option) => [option.name, valueOf(option), option.default]).filter(([, value, standard]) => value !== standard).map(([name, value]) => [name, value]));
}

function showOptions() {
  const place = { true: at("options"), false: at("more-options") };
  for (const element of Object.values(place)) element.replaceChildren();
  for (const option of chosen().options) {
    const field = control(option);
    place[option.common].append(made("div", { "data-option": option.name }, made("label", { htmlFor: field.id, text: option.name }), field, made("p", { id: `${field.id}-help`, text: option.description })));
  }
  at("more").hidden = !at("more-options").children.length;
  preview();
}

let previewed = 0;
async function preview() {
  const turn = ++previewed;
  const differs = changed();
  for (const element of document.querySelectorAll("[data-option]")) element.classList.toggle("changed", element.dataset.option in differs);
  try {
    const { command } = await ask("/api/v1/command", { playbook: chosen().name, options: differs });
    if (turn !== previewed) return;
    at("preview").querySelector("code").textContent = command;
    say(at("form-error"), "");
  } catch (error) {
    if (turn === previewed) say(at("form-error"), error.message);
  }
}

// -- history ---------------------------------------------------------------------------------------------------------

function showHistory() {
  const filter = at("filter");
  const drills = [...new Set(state.history.map((run) => run.drill))].sort();
  if (filter.options.length !== drills.length + 1) {
    const kept = filter.value;
    filter.replaceChildren(made("option", { value: "", text: "every drill" }), ...drills.map((drill) => made("option", { value: drill, text: drill })));
    filter.value = drills.includes(kept) ? kept : "";
  }
  const runs = state.history.filter((run) => !filter.value || run.drill === filter.value);
  trend(at("trend"), runs.filter((run) => run.ended));
  const words = [...new Set(runs.filter((run) => run.ended).map((run) => run.outcome.split(" ")[0]))];
  at("trend-key").textContent = words.length ? `Seconds from the undo until the lag had drained. ${words.map((word) => `${verdictOf(word).sign} ${word}`).join("   ")}` : "";
  const rows = [...runs].reverse();
  document.querySelector(".history").classList.toggle("empty", !rows.length);
  at("older").hidden = state.all || rows.length <= ROWS;
  at("runs").replaceChildren(...rows.slice(0, state.all ? undefined : ROWS).map(row));
}

function row(run) {
  const found = run.ended ? { word: run.outcome, ...verdictOf(run.outcome) } : state.drill?.name === run.run && busy() ? { word: "running", tone: "busy", sign: "▸" } : { word: "interrupted", tone: "warn", sign: "■" };
  const figure = (name, value) => made("td", { className: "n", "data-name": name, text: value == null ? "" : value });
  return made("tr", {},
    made("td", { className: "when", text: run.began ? moment(run.began) : run.run }), made("td", { text: run.drill }),
    made("td", {}, made("span", { className: `verdict ${found.tone}`, text: `${found.sign} ${found.word}` })),
    figure("recovered in", run.recovery == null ? null : `${run.recovery.toFixed(1)} s`), figure("events", run.window == null ? null : grouped(run.window)),
    figure("lost", run.lost), figure("rewritten", run.rewritten), made("td", { className: "why", text: run.ended ? run.reason : "" }),
    made("td", {}, ...(run.report ? [made("a", { href: `/runs/${run.run}/report.html`, text: "Report" })] : [])));
}

// -- the feed --------------------------------------------------------------------------------------------------------

const source = new EventSource("/api/v1/feed");

function on(name, use) {
  source.addEventListener(name, (event) => {
    state.heard = now();
    use(JSON.parse(event.data));
  });
}

on("job", (job) => { state.job = job; showRun(); showTimeline(); showServices(); });
on("drill", (drill) => { state.drill = drill; showRun(); showTimeline(); });
on("units", (units) => { state.units = units; showServices(); });
on("counts", (counts) => { state.counts = counts; showServices(); });
on("history", (history) => { state.history = history; showHistory(); });
on("log", ({ reset, text }) => { state.log = reset ? text : state.log + text; showLog(); });
on("samples", ({ reset, points }) => {
  state.points = reset ? points : [...state.points, ...points];
  if (showsDrill()) { showFigures(); showTimeline(); }
});
source.addEventListener("error", showAges);
source.addEventListener("open", showAges);
setInterval(() => { showProgress(); showAges(); }, 500);
addEventListener("resize", () => { showTimeline(); showHistory(); });

// -- buttons ---------------------------------------------------------------------------------------------------------

const THEMES = { "": "◐ System", light: "○ Light", dark: "● Dark" };
function theme(name) {
  if (name) document.documentElement.dataset.theme = name; else delete document.documentElement.dataset.theme;
  localStorage.setItem("theme", name);
  at("theme").textContent = THEMES[name];
}
theme(localStorage.getItem("theme") ?? "");
at("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  theme(names[(names.indexOf(localStorage.getItem("theme")) + 1) % names.length]);
});
at("cancel").addEventListener("click", () => ask("/api/v1/jobs/cancel", {}).catch((error) => toast(error.message)));
at("look").addEventListener("click", () => ask("/api/v1/look", {}).catch((error) => toast(error.message)));
for (const button of document.querySelectorAll(".services .head [data-play]")) button.addEventListener("click", () => play(button.dataset.play));
at("drill").addEventListener("change", showOptions);
at("drill-form").addEventListener("input", (event) => { if (event.target !== at("drill")) preview(); });
at("drill-form").addEventListener("submit", (event) => { event.preventDefault(); play(chosen().name, changed()); });
at("filter").addEventListener("change", showHistory);
at("older").addEventListener("click", () => { state.all = true; showHistory(); });
at("log-box").addEventListener("toggle", () => { at("log").scrollTop = at("log").scrollHeight; });
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren(code); // no clipboard beyond localhost without TLS: the selection can be copied
  }
});

state.catalogue = await ask("/api/v1/catalogue");
at("inventory").textContent = state.catalogue.inventory;
at("inventory").title = `in ${state.catalogue.root}`;
at("logout").hidden = !state.catalogue.token;
at("drill").replaceChildren(...state.catalogue.drills.map((drill) => made("option", { value: drill.name, text: drill.title, selected: drill.name === "drill_flink" })));
showOptions();
showServices();
showRun();
