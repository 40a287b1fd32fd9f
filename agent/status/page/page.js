// Draws /api/v1/status and looks again every five seconds. Whatever comes from
// the document is put into the page as text, never as markup.

const PAUSE = 5000;
const FEW = 8; // so many targets are shown in full; of more, those that are not well or opened
const MARKS = { good: "✓", warn: "‼", bad: "✗", none: "–" };
const VERDICTS = { reachable: "good", degraded: "warn", unreachable: "bad", unknown: "none" };
const SEVERITIES = { error: "bad", warning: "warn", notice: "none" };
const HARMLESS = new Set(["skipped", "aborted"]);

const $ = (id) => document.getElementById(id);
const cards = new Map(); // by name: the element, and what it shows
const opened = new Map(); // by name: what the reader chose
const seenOpen = new Map(); // the same for what was seen
let last = null; // when the page was last brought up to date

// h makes an element of a tag with classes, such as "p.faint".
function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const e = document.createElement(name);
  if (classes.length) e.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes || {})) e.setAttribute(key, value);
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

function ago(time) {
  const s = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

function took(seconds) {
  if (!seconds) return "";
  const ms = seconds * 1000;
  if (ms < 0.1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${seconds.toFixed(1)} s`;
}

function count(n, word) {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

// grade says how an observation is marked. What fails where no caller goes is
// worth a look, but no failure.
function grade(o, answered = true) {
  if (o.outcome === "ok") return "good";
  if (HARMLESS.has(o.outcome)) return "none";
  return o.outcome === "fault" || !answered ? "warn" : "bad";
}

function cell(o, answered) {
  if (!o) return h("td", null);
  const g = grade(o, answered);
  const word = o.outcome === "ok" ? took(o.seconds) || "ok" : o.outcome.replaceAll("_", " ");
  const time = o.outcome === "ok" ? "" : took(o.seconds);
  const late = o.late_seconds && `this machine was busy: times may be ${took(o.late_seconds)} too long`;
  const title = [o.name, o.addr, o.text, late].filter(Boolean).join("\n");
  return h(`td.cell.${g}`, { title }, `${MARKS[g]} ${word} `, time && h("small", null, time));
}

// bare is an address without the port, if all lanes have the same.
function bare(addr, t) {
  const ports = new Set(t.lanes.map((l) => l.addr.replace(/.*:/, "")));
  return ports.size === 1 && addr.endsWith(`:${[...ports][0]}`) ? addr.replace(/:\d+$/, "") : addr;
}

const onLane = (o, lane) => o.via === lane.via && o.addr === lane.addr;

// lookupOf is the lookup that led to a lane: of several resolvers the worst.
function lookupOf(lane, t) {
  const all = t.observations.filter((o) => o.resolver && o.name === lane.server_name);
  return all.find((o) => o.outcome !== "ok") || all[0];
}

// matrix shows the lanes by layer.
function matrix(t) {
  if (!t.lanes.length) return null;
  const kinds = [];
  for (const o of t.observations) {
    if (!o.resolver && !kinds.includes(o.kind) && t.lanes.some((l) => onLane(o, l))) kinds.push(o.kind);
  }
  const rows = t.lanes.map((lane) => {
    const steps = kinds.map((k) => cell(t.observations.find((o) => o.kind === k && onLane(o, lane)), lane.answered));
    return h("tr", null,
      h("th", { scope: "row" }, bare(lane.addr, t), h("small", null, lane.via, lane.answered ? "" : ", not in the DNS")),
      lane.answered ? cell(lookupOf(lane, t), true) : h("td.cell.none", null, "–"), ...steps);
  });
  return [h("h3", null, "Paths"), h("div.scroll", { tabindex: "0", role: "region", "aria-label": `Paths of ${t.name}` }, h("table", null,
    h("thead", null, h("tr", null, ...["path", "resolve", ...kinds].map((k) => h("th", { scope: "col" }, k)))),
    h("tbody", null, ...rows)))];
}

// rest shows the observations that belong to no lane, and those of lanes that
// did not go well, in words.
function rest(t) {
  const unanswered = (o) => t.lanes.some((l) => onLane(o, l) && !l.answered);
  const shown = t.observations.filter((o) => o.resolver || !t.lanes.some((l) => onLane(o, l)) || (o.outcome !== "ok" && o.outcome !== "skipped"));
  if (!shown.length) return null;
  const rows = shown.map((o) => h("tr", null,
    h("th", { scope: "row" }, o.kind, h("small", null, [o.via, o.resolver ? `by ${o.resolver}` : bare(o.addr || "", t)].filter(Boolean).join(" "))),
    cell(o, !unanswered(o)), h("td.text", null, o.text || o.error || "")));
  const details = h("details.seen", null, h("summary", null, "What was seen"), h("div.scroll", { tabindex: "0", role: "region", "aria-label": `Observations of ${t.name}` }, h("table", null, h("tbody", null, ...rows))));
  details.open = seenOpen.get(t.name) ?? t.verdict !== "reachable";
  details.firstChild.addEventListener("click", () => seenOpen.set(t.name, !details.open));
  return details;
}

// certificates shows the expiries, the soonest of each role.
function certificates(t) {
  const soonest = new Map();
  for (const o of t.observations) {
    for (const v of o.values || []) {
      if (v.name !== "cert_not_after_timestamp_seconds" || v.value === null) continue;
      const role = (v.labels && v.labels.role) || o.kind;
      soonest.set(role, Math.min(v.value, soonest.get(role) ?? Infinity));
    }
  }
  if (!soonest.size) return null;
  const rows = [...soonest].map(([role, at]) => {
    const days = Math.floor((at * 1000 - Date.now()) / 86400000);
    const g = days < 0 ? "bad" : days < 30 ? "warn" : "good";
    return h("tr", null, h("th", { scope: "row" }, role),
      h(`td.cell.${g}`, null, `${MARKS[g]} ${days < 0 ? `expired ${count(-days, "day")} ago` : `${count(days, "day")} left`}`),
      h("td", null, h("meter", { min: "0", max: "90", low: "14", high: "30", optimum: "90", value: String(Math.max(0, Math.min(90, days))), "aria-hidden": "true" })),
      h("td", null, new Date(at * 1000).toISOString().slice(0, 10)));
  });
  return [h("h3", null, "Certificates"), h("div.scroll", null, h("table", null, h("tbody", null, ...rows)))];
}

// prose is text in which commands stand between backquotes.
function prose(text) {
  return text.split("`").map((part, i) => (i % 2 ? h("code", null, part) : part));
}

function finding(f) {
  const g = f.expected ? "good" : SEVERITIES[f.severity] || "none";
  const facts = [["why", f.means], ...(f.notes || []).map((n) => ["note", n]), ["fix", f.fix], ["source", f.source]];
  return h(`section.finding.${g}`, null,
    h("h2", null, `${MARKS[g]} ${f.title}`, h("span.grade", null, f.expected ? "expected" : `${f.severity}, ${f.certainty}`)),
    h("dl", null, ...facts.flatMap(([k, v]) => [h("dt", null, k), h("dd", null, ...prose(v))]), h("dt", null, "more"), h("dd", null, h("code", null, `vpcprobe explain ${f.id}`))));
}

// byUrgency puts errors before warnings, these before notices, and what was
// expected last.
function byUrgency(findings) {
  const rank = (f) => (f.expected ? 3 : ["error", "warning", "notice"].indexOf(f.severity));
  return [...findings].sort((a, b) => rank(a) - rank(b));
}

function summary(t) {
  const g = VERDICTS[t.verdict] || "none";
  const worst = byUrgency(t.findings).find((f) => !f.expected && f.severity !== "notice");
  return h("summary", null, h("span.badge", null, `${MARKS[g]} ${t.verdict}`), h("span.name", null, t.name),
    h("span", null, worst ? `${t.sentence}. ${worst.title}` : t.sentence),
    h("span.since", { "data-since": t.since || "", "data-started": t.started || "", "data-took": took(t.seconds) }));
}

// tell brings the times of a card up to date.
function tell(card) {
  const e = card.querySelector(".since");
  const { since, started, took: time } = e.dataset;
  e.textContent = started ? `for ${ago(since)}, last walked ${ago(started)} ago in ${time}` : "";
}

function draw(t, full) {
  let card = cards.get(t.name);
  if (!card) {
    card = { element: h("details", { "data-name": t.name }), shows: "" };
    card.element.addEventListener("toggle", () => {
      if (card.element.open !== card.open) {
        opened.set(t.name, card.element.open);
        if (card.element.open) look();
      }
    });
    cards.set(t.name, card);
  }
  const shows = JSON.stringify([t, full]);
  if (shows !== card.shows) {
    card.shows = shows;
    card.element.className = `target ${VERDICTS[t.verdict] || "none"}`;
    const parts = full ? [byUrgency(t.findings).map(finding), matrix(t), certificates(t), rest(t)].flat().filter(Boolean) : [];
    const focused = card.element.contains(document.activeElement) && document.activeElement.tagName === "SUMMARY";
    card.element.replaceChildren(summary(t), h("div.body", null, ...parts));
    if (focused) card.element.firstChild.focus();
  }
  card.open = full;
  card.element.open = full;
  tell(card.element);
  return card.element;
}

function headline(s, targets) {
  const bad = targets.filter((t) => t.verdict !== "reachable");
  if (!targets.length) return "No target is configured.";
  if (!bad.length) return targets.length === 1 ? `${MARKS.good} ${targets[0].name} is reachable.` : `${MARKS.good} All ${targets.length} targets are reachable.`;
  const parts = ["unreachable", "degraded", "unknown"].filter((v) => s[v]).map((v) => `${s[v]} ${v}`);
  const first = s.first_to_mend;
  const title = first && targets.find((t) => t.name === first.target).findings.find((f) => f.id === first.finding).title;
  return `${bad.some((t) => t.verdict === "unreachable") ? MARKS.bad : MARKS.warn} ${count(targets.length, "target")}: ${parts.join(", ")}.` + (first ? ` Mend first, at ${first.target}: ${title}.` : "");
}

function visible(t) {
  const text = $("find").value.trim().toLowerCase();
  return (!text || t.name.toLowerCase().includes(text)) && (!$("problems").checked || t.verdict !== "reachable");
}

const isOpen = (t, many) => opened.get(t.name) ?? (!many || t.verdict === "unreachable" || t.verdict === "degraded");

async function load(query) {
  const response = await fetch(`api/v1/status${query}`, { cache: "no-store", signal: AbortSignal.timeout(PAUSE * 2) });
  if (!response.ok) throw new Error(`the agent answered ${response.status}`);
  return response.json();
}

// fetchAll loads all targets; of many only those in full that are open.
async function fetchAll() {
  const brief = await load("?brief");
  const many = brief.targets.length > FEW;
  const shown = brief.targets.filter(visible);
  const open = shown.filter((t) => isOpen(t, many)).slice(0, 20);
  const full = new Map();
  if (open.length) {
    const detail = await load("?" + new URLSearchParams(open.map((t) => ["target", t.name])));
    for (const t of detail.targets) full.set(t.name, t);
  }
  return { brief, many, shown, full };
}

let looking = false;

async function look() {
  if (looking) return;
  looking = true;
  try {
    const { brief, many, shown, full } = await fetchAll();
    $("tools").hidden = !many;
    const text = headline(brief.summary, brief.targets);
    if ($("headline").textContent !== text) $("headline").textContent = text;
    $("configuration").hidden = !brief.configuration_error;
    $("configuration").textContent = brief.configuration_error || "";
    document.title = `${brief.summary.reachable}/${brief.summary.targets} reachable – vpcprobe`;
    $("version").textContent = `vpcprobe ${brief.version}`;
    const elements = shown.map((t) => draw(full.get(t.name) || t, full.has(t.name)));
    const now = [...$("targets").children];
    if (now.length !== elements.length || now.some((e, i) => e !== elements[i])) $("targets").replaceChildren(...elements);
    last = Date.now();
    fresh(null);
  } catch (error) {
    fresh(error);
  } finally {
    looking = false;
  }
}

function fresh(error) {
  $("fresh").classList.toggle("stale", Boolean(error));
  const since = last ? `; shown is what was known ${ago(new Date(last))} ago` : "";
  $("fresh").textContent = error ? `${MARKS.bad} The agent does not answer (${error.message})${since}.` : "looks again every 5 s";
}

setInterval(() => { if (!document.hidden) look(); }, PAUSE);
setInterval(() => { for (const c of cards.values()) tell(c.element); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
for (const id of ["find", "problems"]) $(id).addEventListener("input", look);
look();
