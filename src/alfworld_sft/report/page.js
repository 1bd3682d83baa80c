"use strict";
// Draws the report. Whatever comes from a run is set as text, never as markup; nothing is requested and nothing stored.
const ROW_HEIGHT = 35; // of page.css: 34 px and a border
const SHOWN_CHARACTERS = 20000;
const LONG_CHARACTERS = 3000; // a text this long scrolls in its own box
const MOST_DIFF_WORDS = 1500;
const KEPT_CHUNKS = 12;
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a07800", "#56b4e9"];
const byId = (id) => document.getElementById(id);
const number = (value, digits = 0) => value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
const percent = (value) => `${number(100 * value, 1)} %`;
const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

let report; // the summary
let shown = []; // places in report.rows of the rows that pass the filters, sorted
let chosen = 0; // place in `shown` of the selected row
let sorting = {column: null, falling: false};
let matches = null; // places of the rows whose texts hold what is searched; null: no search
let searches = 0;

// ---- small helpers

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function textBlock(text) {
  if (text.length <= LONG_CHARACTERS) return make("div", {className: "text"}, text);
  const block = make("div", {className: "text long", tabIndex: 0}, text.slice(0, SHOWN_CHARACTERS));
  if (text.length <= SHOWN_CHARACTERS) return block;
  const button = make("button", {type: "button"}, `show all ${number(text.length)} characters`);
  button.addEventListener("click", () => { block.textContent = text; button.remove(); });
  return make("div", {}, block, button);
}

async function unpack(id) {
  const text = byId(id).textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const chunks = new Map();
async function chunkOf(place) {
  const name = Math.floor(place / report.chunk);
  if (!chunks.has(name)) {
    chunks.set(name, unpack(`chunk-${name}`).then(JSON.parse));
    if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
  }
  return chunks.get(name);
}

async function turnsOf(place) {
  if (report.rows[place].error !== null) return [];
  const chunk = await chunkOf(place);
  return chunk.episodes[place % report.chunk].map((turn) => ({...turn, commands: turn.commands.map((n) => chunk.commands[n])}));
}

const typeName = (type) => report.types[type] ?? (type || "?");
const swatch = (run) => {
  const mark = make("span", {className: "swatch"});
  mark.style.background = COLOURS[run % COLOURS.length];
  return mark;
};
const runName = (run) => make("span", {}, swatch(run), report.runs[run].name + (at(report.runs[run].stamp, "protocol.constrain") ? " (actions restricted)" : ""));

// ---- overview

const STAMPED = [["policy", "policy"], ["status", "status"], ["started", "started"], ["games", "games.description"],
  ["template", "protocol.template"], ["form", "protocol.form"], ["history", "protocol.history_length"],
  ["steps at most", "protocol.max_steps"], ["actions restricted", "protocol.constrain"], ["repeats", "protocol.repeats"], ["seed", "protocol.seed"],
  ["rows", "counts.rows_train"], ["validation rows", "counts.rows_val"], ["model", "config.model.partial_pretrain"],
  ["step", "step"], ["epochs", "config.trainer.total_epochs"], ["learning rate", "config.optim.lr"],
  ["version", "versions.alfworld-sft"]];
const at = (value, path) => {
  let found = value;
  for (const key of path.split(".")) found = found !== null && typeof found === "object" ? found[key] : undefined;
  return found;
};
const inWords = (value) => typeof value === "string" ? value : JSON.stringify(value);

function drawRuns() {
  for (const [place, run] of report.runs.entries()) {
    const list = make("dl");
    const add = (term, text) => list.append(make("dt", {}, term), make("dd", {}, text));
    for (const [term, path] of STAMPED) {
      const value = at(run.stamp, path);
      if (value !== undefined && value !== null) add(term, inWords(value));
    }
    const usage = run.play?.usage;
    if (usage) add("tokens", `${number(usage.prompt_tokens)} read (${number(usage.cached_tokens)} cached), ${number(usage.completion_tokens)} said`);
    if (run.play?.cost_usd !== null && run.play?.cost_usd !== undefined) add("cost", `$${number(run.play.cost_usd, 4)}`);
    if (run.training) add("logged", counted(run.training.length, "figure"));
    byId("runs").append(make("div", {className: "card"}, make("h3", {}, swatch(place), `${run.name} `, make("span", {className: "soft"}, run.kind)), list,
      make("details", {}, make("summary", {}, "whole stamp"), make("pre", {tabIndex: 0}, JSON.stringify(run.stamp, null, 2)))));
  }
}

const players = () => report.runs.map((run, place) => ({...run, place})).filter((run) => run.play);
const interval = (low, high) => `${number(100 * low, 1)} to ${number(100 * high, 1)} %`;

function table(caption, head, rows) {
  const cells = (tag, row) => row.map((cell, place) => make(place ? tag : "th", {className: place ? "number" : "", scope: tag === "th" ? "col" : place ? undefined : "row"}, cell));
  return make("div", {className: "wide", tabIndex: 0, role: "region", ariaLabel: caption}, make("table", {},
    make("thead", {}, make("tr", {}, ...cells("th", head))), make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells("td", row))))));
}

function drawSuccess() {
  const runs = players();
  byId("success-section").hidden = byId("episodes-section").hidden = !runs.length;
  if (!runs.length) return;
  const types = Object.keys(report.types).filter((type) => runs.some((run) => run.play.by_type[type]));
  const cell = (found) => found ? make("span", {}, `${percent(found.rate)} `, make("span", {className: "soft"}, `${found.won}/${found.played}, ${interval(...found.interval_95)}`)) : "–";
  const mean = (value) => value === null ? "–" : number(value, 1);
  byId("success").append(table("Success by task type", ["won, with the 95 % interval", ...runs.map((run) => runName(run.place))], [
    ...types.map((type) => [typeName(type), ...runs.map((run) => cell(run.play.by_type[type]))]),
    ["all", ...runs.map((run) => cell(run.play.success))],
    ...[...new Set(runs.flatMap((run) => Object.keys(run.play.pass_at_k)))].map((k) => [`pass@${k}`, ...runs.map((run) => k in run.play.pass_at_k ? percent(run.play.pass_at_k[k]) : "–")]),
    ["mean steps when won", ...runs.map((run) => mean(run.play.mean_steps_when_won))],
    ["mean steps", ...runs.map((run) => mean(run.play.mean_steps))],
    ["replies the game could not play", ...runs.map((run) => {
      const invalid = Object.values(run.play.invalid).reduce((sum, count) => sum + count, 0);
      return `${run.play.steps ? percent(invalid / run.play.steps) : "–"} (${number(invalid)} of ${number(run.play.steps)})`;
    })],
    ["lost", ...runs.map((run) => Object.entries(run.play.lost).map(([reason, count]) => `${number(count)} ${reason}`).join(", ") || "0")],
  ]));
}

function drawComparisons() {
  byId("compare-section").hidden = !report.comparisons.length;
  for (const found of report.comparisons) {
    const title = make("h3", {}, runName(found.b), " against ", runName(found.a));
    if (found.refused) {
      byId("comparisons").append(title, make("p", {className: "soft"}, found.refused));
      continue;
    }
    const p = found.p_value >= 0.0001 ? number(found.p_value, 4) : found.p_value.toExponential(1);
    byId("comparisons").append(title,
      make("p", {}, `${found.difference >= 0 ? "+" : ""}${percent(found.difference)}, 95 % interval ${interval(...found.interval)}, p = ${p}. `,
        `${counted(found.plays, "play")} of ${counted(found.games, "game")}: ${found.both} won by both, ${found.only_b} only by the first named, ${found.only_a} only by the second, ${found.neither} by neither.`),
      make("p", {className: "soft"}, found.method));
  }
}

// ---- plots

const plain = (text) => text.replaceAll("<", "‹").replaceAll("&", "＆"); // the charting library reads markup in labels

function playPlots() {
  const runs = players();
  if (!runs.length) return [];
  const bars = (run, extra) => ({type: "bar", name: plain(run.name), marker: {color: COLOURS[run.place % COLOURS.length]}, ...extra});
  const share = (part, of) => of ? part / of : 0;
  const types = Object.keys(report.types).filter((type) => runs.some((run) => run.play.by_type[type]));
  const success = runs.map((run) => {
    const known = types.filter((type) => run.play.by_type[type]);
    const found = known.map((type) => run.play.by_type[type]);
    return bars(run, {x: known.map(typeName), y: found.map((one) => one.rate), error_y: {type: "data", symmetric: false, thickness: 1,
      array: found.map((one) => one.interval_95[1] - one.rate), arrayminus: found.map((one) => one.rate - one.interval_95[0])}});
  });
  const rowsOf = (run) => report.rows.filter((row) => row.run === run.place && row.error === null);
  const histogram = (value, wanted) => runs.map((run) => ({type: "histogram", name: plain(run.name), opacity: 0.65, marker: {color: COLOURS[run.place % COLOURS.length]},
    x: rowsOf(run).filter(wanted).map(value)}));
  const shares = (counts, of) => {
    const names = [...new Set(runs.flatMap((run) => Object.keys(counts(run))))];
    return runs.map((run) => bars(run, {x: names, y: names.map((name) => share(counts(run)[name] ?? 0, of(run)))}));
  };
  const tokens = histogram((row) => row.tokens, (row) => row.tokens !== null);
  const line = {shapes: [{type: "line", x0: report.max_length, x1: report.max_length, y0: 0, y1: 1, yref: "paper", line: {dash: "dash", width: 1.5, color: "#a3231f"}}],
    annotations: [{x: report.max_length, y: 1, yref: "paper", text: `max_length ${report.max_length}`, showarrow: false, xanchor: "left", yanchor: "top"}]};
  return [
    {title: "Success by task type, with 95 % intervals", data: success, layout: {yaxis: {range: [0, 1], tickformat: ".0%"}}},
    {title: "Steps to success", data: histogram((row) => row.turns, (row) => row.won), layout: {barmode: "overlay", xaxis: {title: {text: "steps"}}}},
    {title: `Tokens of a conversation${report.model ? "" : ", estimated"}`, data: tokens, layout: {barmode: "overlay", ...line}},
    {tall: true, title: "Kinds of actions, share of turns", data: shares((run) => run.kinds ?? {}, (run) => run.play.steps), layout: {yaxis: {tickformat: ".0%"}}},
    {title: "Replies the game could not play, share by reason", data: shares((run) => run.play.invalid, (run) => run.play.steps), layout: {yaxis: {tickformat: ".1%"}}},
    ...worldModelPlots(runs, bars),
  ].filter((plot) => plot.data.some((trace) => trace.x.length));
}

function worldModelPlots(runs, bars) {
  const scored = runs.filter((run) => run.world_model);
  return [["exact_match", "exact match"], ["f1", "F1 of the things named"]].map(([key, words]) => {
    const kinds = [...new Set(scored.flatMap((run) => Object.keys(run.world_model.by_predictor.policy)))].filter((kind) => kind !== "all");
    const values = (run, predictor) => kinds.map((kind) => run.world_model.by_predictor[predictor][kind]?.[key] ?? null);
    const baselines = scored.slice(0, 1).flatMap((run) => ["copy of the last observation", "most frequent answer"].map((predictor, place) => (
      {type: "scatter", mode: "markers", name: predictor, x: kinds, y: values(run, predictor), marker: {symbol: place ? "diamond-open" : "circle-open", size: 9, color: "#8a8f98"}})));
    return {tall: true, title: `Predictions: ${words} by kind of action`, data: [...scored.map((run) => bars(run, {x: kinds, y: values(run, "policy")})), ...(kinds.length ? baselines : [])], layout: {yaxis: {range: [0, 1.02]}}};
  });
}

const GROUPS = [["Loss, in training and validation", /^(loss|val\/loss)$/], ["Validation loss by kind of token", /^val\/loss_/],
  ["Learning rate", /^lr/], ["Success during training", /success/], ["Accuracy of actions", /^val\/action_accuracy/]];

function trainingPlots() {
  const curves = report.runs.flatMap((run, place) => (run.training ?? []).map((curve) => ({...curve, place, run: run.name})));
  const groups = new Map(GROUPS.map(([title]) => [title, []]));
  for (const curve of curves) {
    const title = GROUPS.find(([, pattern]) => pattern.test(curve.name))?.[0] ?? curve.name;
    groups.set(title, [...(groups.get(title) ?? []), curve]);
  }
  const several = new Set(curves.map((curve) => curve.place)).size > 1;
  return [...groups].filter(([, found]) => found.length).map(([title, found]) => ({title, layout: {xaxis: {title: {text: "step"}}},
    data: found.map((curve, place) => ({type: "scatter", mode: curve.steps.length > 40 ? "lines" : "lines+markers", x: curve.steps, y: curve.values,
      name: plain(several ? `${curve.name} · ${curve.run}` : curve.name), line: {color: COLOURS[place % COLOURS.length], width: 1.5}}))}));
}

let plots = [];
async function drawPlots() {
  plots = [...playPlots(), ...trainingPlots()];
  for (const plot of plots) {
    plot.place = make("div", {className: plot.tall ? "plot tall" : "plot", role: "img", ariaLabel: plot.title});
    byId("plots").append(make("figure", {}, make("figcaption", {}, plot.title), plot.place));
  }
  byId("plots").parentElement.hidden = !plots.length;
  if (!plots.length) return;
  const source = await unpack("library");
  document.head.append(make("script", {textContent: source}));
  for (const plot of plots) {
    await window.Plotly.newPlot(plot.place, plot.data, layoutOf(plot), {responsive: true, displayModeBar: false});
    await new Promise((done) => setTimeout(done)); // keys and scrolling go first
  }
}

function layoutOf(plot) {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name));
  const axis = {gridcolor: line, zerolinecolor: line, automargin: true};
  return {margin: {l: 48, r: 12, t: 8, b: 36}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, size: 12},
    showlegend: plot.data.length > 1, legend: {orientation: "h", y: 1.02, yanchor: "bottom"}, bargap: 0.25, ...plot.layout,
    xaxis: {...axis, ...plot.layout.xaxis}, yaxis: {...axis, ...plot.layout.yaxis}};
}

// ---- table of episodes

const COLUMNS = [
  {title: "#", width: "4.6rem", value: (row) => row.run * 1e9 + row.index, text: (row) => String(row.index), numeric: true},
  {title: "run", width: "11rem", hides: "medium", value: (row) => row.run, text: (row) => runName(row.run), several: true},
  {title: "type", width: "6rem", hides: "small", value: (row) => typeName(row.type), text: (row) => typeName(row.type)},
  {title: "task", value: (row) => row.task || row.game, text: (row) => row.task || row.game},
  {title: "game", hides: "medium", value: (row) => row.game, text: (row) => row.game},
  {title: "result", width: "6rem", value: (row) => row.won ? "" : row.reason, text: (row) => make("span", {className: row.won ? "good" : "bad"}, row.won ? "won" : row.reason)},
  {title: "steps", width: "4.4rem", value: (row) => row.turns, text: (row) => number(row.turns), numeric: true},
  {title: "shortest", width: "6.5rem", hides: "small", value: (row) => row.shortest ?? Infinity, text: (row) => row.shortest === null ? "–" : number(row.shortest), numeric: true},
  {title: "invalid", width: "5.6rem", hides: "small", value: (row) => row.invalid, text: (row) => number(row.invalid), numeric: true},
  {title: "tokens", width: "6rem", hides: "medium", value: (row) => row.tokens ?? Infinity, text: (row) => row.tokens === null ? "–" : number(row.tokens), numeric: true},
];
const columns = () => COLUMNS.filter((column) => !column.several || report.runs.length > 1);

function drawHead() {
  for (const column of columns()) {
    const button = make("button", {type: "button"}, column.title);
    button.addEventListener("click", () => {
      sorting = {column, falling: sorting.column === column && !sorting.falling};
      for (const cell of byId("columns").children) cell.removeAttribute("aria-sort");
      button.parentElement.setAttribute("aria-sort", sorting.falling ? "descending" : "ascending");
      filter();
    });
    const cell = make("th", {scope: "col", className: `${column.numeric ? "number" : ""} ${column.hides ?? ""}`}, button);
    if (column.width) cell.style.width = column.width;
    byId("columns").append(cell);
  }
}

function drawFilters() {
  const options = (values) => [make("option", {value: ""}, "all"), ...values.map(([value, text]) => make("option", {value}, text))];
  const select = (id, title, values) => make("label", {}, title, make("select", {id}, ...options(values)));
  const distinct = (value) => [...new Set(report.rows.map(value))].filter(Boolean).sort();
  const input = (id, title) => make("label", {}, title, make("input", {id, type: "search", autocomplete: "off", spellcheck: false}));
  byId("filters").append(
    ...(report.runs.length > 1 ? [select("by-run", "run", players().map((run) => [String(run.place), run.name]))] : []),
    select("by-type", "type", distinct((row) => row.type).map((type) => [type, typeName(type)])),
    select("by-result", "result", [["won", "won"], ["lost", "lost"], ...distinct((row) => row.reason).map((reason) => [reason, `lost: ${reason}`])]),
    input("by-game", "game or task"), input("by-text", "text of the turns"));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", (event) => event.target.id === "by-text" ? searchSoon() : filter());
}

function filter() {
  const value = (id) => byId(id)?.value ?? "";
  const [run, type, result, game] = [value("by-run"), value("by-type"), value("by-result"), value("by-game").toLowerCase()];
  shown = [];
  for (const [place, row] of report.rows.entries()) {
    if (run && String(row.run) !== run) continue;
    if (type && row.type !== type) continue;
    if (result && !(result === "won" ? row.won : result === "lost" ? !row.won : row.reason === result)) continue;
    if (game && !`${row.game}\n${row.task}`.toLowerCase().includes(game)) continue;
    if (matches && !matches.has(place)) continue;
    shown.push(place);
  }
  if (sorting.column) {
    const {column, falling} = sorting;
    const keys = new Map(shown.map((place) => [place, column.value(report.rows[place])]));
    const order = (a, b) => keys.get(a) < keys.get(b) ? -1 : keys.get(a) > keys.get(b) ? 1 : a - b;
    shown.sort(falling ? (a, b) => order(b, a) : order);
  }
  chosen = 0;
  byId("found").textContent = `${number(shown.length)} of ${counted(report.rows.length, "episode")}`
    + (report.not_found ? `; of ${counted(report.not_found, "episode")} the game was not found, so that no distances are known` : "")
    + (report.replays ? "" : "; not replayed");
  byId("scroller").scrollTop = 0;
  drawRows();
}

let searchTimer;
function searchSoon() {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(search, 200);
}

async function search() {
  const mine = ++searches;
  const wanted = byId("by-text").value.toLowerCase();
  if (!wanted) {
    matches = null;
    filter();
    return;
  }
  const found = new Set();
  const holds = (text) => text !== null && text.toLowerCase().includes(wanted);
  for (let place = 0; place < report.rows.length; place += report.chunk) {
    if (byId(`chunk-${place / report.chunk}`) === null) break;
    const chunk = JSON.parse(await unpack(`chunk-${place / report.chunk}`));
    if (mine !== searches) return;
    for (const [offset, turns] of chunk.episodes.entries()) {
      if (turns.some((turn) => holds(turn.reply) || holds(turn.observation) || holds(turn.next) || holds(turn.reasoning))) found.add(place + offset);
    }
    byId("found").textContent = `searching: ${percent(Math.min(1, (place + report.chunk) / report.rows.length))}`;
  }
  matches = found;
  filter();
}

function drawRows() {
  const scroller = byId("scroller");
  const first = Math.max(0, Math.floor(scroller.scrollTop / ROW_HEIGHT) - 10);
  const last = Math.min(shown.length, first + Math.ceil(scroller.clientHeight / ROW_HEIGHT) + 20);
  const width = Math.max(1, [...byId("columns").children].filter((cell) => cell.offsetWidth).length); // more would make columns of their own
  const spacer = (count) => {
    const cell = make("td", {className: "spacer", colSpan: width});
    cell.style.height = `${count * ROW_HEIGHT}px`;
    return make("tr", {ariaHidden: "true"}, cell);
  };
  const rows = [];
  for (let place = first; place < last; place += 1) {
    const row = report.rows[shown[place]];
    const line = make("tr", {className: place === chosen ? "chosen" : ""}, ...columns().map((column, n) => {
      const text = column.text(row);
      return make("td", {className: `${column.numeric ? "number" : ""} ${column.hides ?? ""}`}, n ? text : make("a", {href: link(shown[place])}, text));
    }));
    line.dataset.place = place;
    rows.push(line);
  }
  byId("rows").replaceChildren(spacer(first), ...rows, spacer(shown.length - last));
}

function choose(place) {
  chosen = Math.max(0, Math.min(shown.length - 1, place));
  const scroller = byId("scroller");
  const top = chosen * ROW_HEIGHT;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  if (top + 3 * ROW_HEIGHT > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + 3 * ROW_HEIGHT - scroller.clientHeight;
  drawRows();
}

// ---- links: #episode=17&turn=4, with run=N where there are several, and beside=RUN.EPISODE

function link(place, turn = null, beside = null) {
  const row = report.rows[place];
  const other = beside === null ? null : report.rows[beside];
  return "#" + [...(report.runs.length > 1 ? [`run=${row.run}`] : []), `episode=${row.index}`, ...(turn === null ? [] : [`turn=${turn}`]),
    ...(other ? [`beside=${other.run}.${other.index}`] : [])].join("&");
}

const placeOf = (run, index) => report.rows.findIndex((row) => row.run === run && row.index === index);

async function follow() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const open = asked.has("episode");
  byId("overview").hidden = open;
  byId("episode").hidden = !open;
  if (!open) {
    document.title = "alfworld-sft report";
    drawRows();
    return;
  }
  const firstPlayed = players()[0]?.place ?? 0;
  const place = placeOf(asked.has("run") ? Number(asked.get("run")) : firstPlayed, Number(asked.get("episode")));
  if (place < 0) {
    byId("episode").replaceChildren(make("p", {}, "This report has no such episode. ", make("a", {href: "#"}, "Back to the table")));
    return;
  }
  const beside = asked.has("beside") ? placeOf(...asked.get("beside").split(".").map(Number)) : -1;
  await (beside < 0 ? drawEpisode(place, Number(asked.get("turn") ?? 0)) : drawBeside(place, beside));
}

// ---- one episode

const gamePlaces = (place) => report.rows.map((_, other) => other).filter((other) => other !== place && report.rows[other].game === report.rows[place].game && report.rows[other].error === null);

function head(place) {
  const row = report.rows[place];
  return [
    make("h2", {}, `Episode ${row.index}: ${row.task || row.game}`),
    make("p", {}, runName(row.run), " · ", typeName(row.type), " · ", make("span", {className: row.won ? "good" : "bad"}, row.won ? "won" : `lost: ${row.reason}`),
      ` · ${counted(row.turns, "step")}`, row.shortest === null ? "" : ` (shortest possible: ${row.shortest})`,
      row.tokens === null ? "" : ` · ${report.model ? "" : "about "}${counted(row.tokens, "token")}`),
    make("p", {className: "soft"}, row.game, row.error === null && !row.replayed ? (report.replays ? " · the game was not found: no distances" : " · not replayed") : ""),
  ];
}

function navigation(place) {
  const order = shown.indexOf(place);
  const to = (text, other) => other === undefined ? null : make("a", {href: link(other)}, text);
  const others = gamePlaces(place).slice(0, 12);
  return make("div", {className: "bar"}, make("a", {href: "#"}, "← all episodes"), to("previous", shown[order - 1]), to("next", order < 0 ? undefined : shown[order + 1]),
    others.length ? make("span", {className: "soft"}, "same game, side by side:") : null,
    ...others.map((other) => make("a", {href: link(place, null, other)}, report.runs[report.rows[other].run].name + ` #${report.rows[other].index}`)));
}

async function drawEpisode(place, wanted) {
  const row = report.rows[place];
  document.title = `Episode ${row.index} · alfworld-sft report`;
  const turns = await turnsOf(place);
  const items = turns.map((turn, n) => drawTurn(turn, n, row, link(place, n + 1)));
  byId("episode").replaceChildren(navigation(place), ...head(place), row.error === null ? distances(turns) : textBlock(row.error), make("ol", {className: "turns"}, ...items));
  mark(wanted, true);
  if (!wanted) window.scrollTo(0, 0);
}

function mark(turn, scrolls) {
  for (const item of document.querySelectorAll(".turn.chosen")) item.classList.remove("chosen");
  const item = byId(`turn-${turn}`);
  if (!item) return;
  item.classList.add("chosen");
  if (scrolls) item.scrollIntoView({block: "start"});
}

function distances(turns) {
  const known = turns.filter((turn) => turn.replayed && turn.before !== null);
  if (known.length < 2) return "";
  const values = [...known.map((turn) => turn.before), known.at(-1).after ?? known.at(-1).before];
  const most = Math.max(1, ...values);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const points = values.map((value, n) => `${(100 * n) / (values.length - 1)},${2 + 36 * (1 - value / most)}`).join(" ");
  const lineOf = (name, attributes) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  };
  for (const [key, value] of Object.entries({class: "distance", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": `Distance to the goal: ${values.join(", ")}`})) svg.setAttribute(key, value);
  lineOf("polyline", {points: "0,38 100,38", fill: "none", stroke: "var(--line)", "vector-effect": "non-scaling-stroke"});
  lineOf("polyline", {points, fill: "none", stroke: "var(--link)", "stroke-width": 2, "vector-effect": "non-scaling-stroke"});
  return make("figure", {}, make("figcaption", {}, `Distance to the goal: ${values[0]} at the start, ${values.at(-1)} at the end, ${most} at most`), svg);
}

function drawTurn(turn, n, row, address, {parting = false, id = true} = {}) {
  const step = (value) => value === null ? "lost" : String(value);
  const moved = turn.before === null || turn.after === null ? turn.after === turn.before ? 0 : turn.after === null ? 1 : -1 : turn.after - turn.before;
  const facts = [
    turn.replayed && turn.world_says === null ? make("span", {className: moved < 0 ? "good" : moved > 0 ? "bad" : "soft"}, `distance ${step(turn.before)} → ${step(turn.after)}`) : null,
    turn.teacher === null ? null : make("span", {}, "teacher: ", make("code", {}, turn.teacher)),
    turn.expert === null ? null : turn.expert === turn.command ? make("span", {className: "soft"}, "as the expert") : make("span", {}, "expert: ", make("code", {}, turn.expert)),
    turn.problem ? make("span", {className: "flag"}, turn.problem) : null,
    row.loop === n ? make("span", {className: "flag"}, "a loop begins here") : null,
    turn.trained ? null : make("span", {className: "flag"}, "deliberate mistake, not trained on"),
    turn.won ? make("span", {className: "good"}, "won") : null,
  ];
  const label = (text) => make("span", {className: "label"}, text);
  const part = (title, text) => text === null ? [] : [label(title), textBlock(text)];
  const item = make("li", {className: `turn${turn.problem ? " invalid" : ""}${parting ? " parting" : ""}`},
    make("div", {className: "turn-head"}, make("a", {href: address}, `Turn ${n + 1}`), make("code", {}, `> ${turn.command.slice(0, 300) || "(nothing)"}`), ...facts),
    ...part("observation", turn.observation), possible(turn), ...part("reasoning", turn.reasoning), ...part("think", turn.think), outcome(turn, label),
    ...(turn.world_says === null ? [] : [label("the world answers differently"), textBlock(turn.world_says)]),
    make("details", {}, make("summary", {}, turn.tokens ? `reply, ${counted(turn.tokens.length, "token")}` : "reply"), turn.tokens ? tokensOf(turn.tokens) : textBlock(turn.reply)));
  if (id) item.id = `turn-${n + 1}`;
  return item;
}

function possible(turn) {
  return make("details", {}, make("summary", {}, counted(turn.commands.length, "possible command")),
    make("ul", {className: "commands"}, ...turn.commands.map((command) => make("li", {className: command === turn.command ? "taken" : ""}, command))));
}

function tokensOf(tokens) {
  return make("div", {className: "text"}, ...tokens.map(([text, trained]) => make("span", {className: `token${trained ? " trained" : ""}`, title: trained ? "with loss" : "without loss"}, text)));
}

function outcome(turn, label) {
  if (turn.prediction === null) return make("div", {}, label("next observation"), textBlock(turn.next));
  const [predicted, real] = difference(turn.prediction, turn.next);
  return make("div", {className: "pair"}, make("div", {}, label("predicted"), predicted), make("div", {}, label("next observation"), real));
}

// Marks the words that only one of two texts has, by a longest common subsequence.
function difference(predicted, real) {
  const [a, b] = [predicted, real].map((text) => text.length > SHOWN_CHARACTERS ? null : text.match(/\s+|[^\s]+/g) ?? []);
  if (a === null || b === null || a.length > MOST_DIFF_WORDS || b.length > MOST_DIFF_WORDS) return [textBlock(predicted), textBlock(real)];
  const lengths = Array.from({length: a.length + 1}, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
  }
  const [left, right] = [make("div", {className: "text"}), make("div", {className: "text"})];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      left.append(a[i++]);
      right.append(b[j++]);
    } else if (j === b.length || (i < a.length && lengths[i + 1][j] >= lengths[i][j + 1])) left.append(make("del", {}, a[i++]));
    else right.append(make("ins", {}, b[j++]));
  }
  return [left, right];
}

// ---- two episodes of one game, to the first turn where they part

async function drawBeside(place, other) {
  const [mine, theirs] = [await turnsOf(place), await turnsOf(other)];
  let parting = 0;
  while (parting < mine.length && parting < theirs.length && mine[parting].command === theirs[parting].command && mine[parting].next === theirs[parting].next) parting += 1;
  const same = parting === mine.length && parting === theirs.length;
  const column = (of, turns) => make("div", {}, ...head(of), make("p", {}, make("a", {href: link(of, Math.min(parting + 1, Math.max(turns.length, 1)))}, "whole episode")),
    make("ol", {className: "turns"}, ...turns.slice(0, parting + 1).map((turn, n) => drawTurn(turn, n, report.rows[of], link(of, n + 1), {parting: n === parting, id: false}))));
  document.title = "Side by side · alfworld-sft report";
  byId("episode").replaceChildren(navigation(place), make("p", {id: "parting"}, same ? "Both episodes are the same." : `They part at turn ${parting + 1}.`),
    make("div", {className: "beside"}, column(place, mine), column(other, theirs)));
  window.scrollTo(0, 0);
}

// ---- keys, theme, start

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  if (window.Plotly) for (const plot of plots) if (plot.place.classList.contains("js-plotly-plot")) window.Plotly.relayout(plot.place, layoutOf(plot));
}
const turnTheme = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const reading = !byId("episode").hidden;
  const here = Number(document.querySelector(".turn.chosen")?.id.slice(5) ?? 0);
  const go = (by) => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const next = shown[shown.indexOf(placeOf(Number(asked.get("run") ?? players()[0].place), Number(asked.get("episode")))) + by];
    if (next !== undefined) location.hash = link(next);
  };
  const turnTo = (turn) => { if (byId(`turn-${turn}`)) { mark(turn, true); history.replaceState(null, "", byId(`turn-${turn}`).querySelector("a").hash); } };
  const actions = {
    "/": () => { if (reading) location.hash = ""; byId("by-text")?.focus(); },
    "?": () => byId("keys").showModal(),
    t: turnTheme,
    j: () => reading ? turnTo(here + 1) : choose(chosen + 1),
    k: () => reading ? turnTo(here - 1) : choose(chosen - 1),
    n: () => reading && go(1),
    p: () => reading && go(-1),
    Escape: () => { if (reading) location.hash = ""; },
    Enter: () => { if (!reading && !event.target.matches("a, button, summary") && shown.length) location.hash = link(shown[chosen]); },
  };
  if (Object.hasOwn(actions, event.key)) {
    if (event.key !== "Enter" || !event.target.matches("a, button, summary")) event.preventDefault();
    actions[event.key]();
  }
}

async function start() {
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  report = JSON.parse(await unpack("summary"));
  byId("made-by").textContent = `${counted(report.runs.length, "run")}, ${counted(report.rows.length, "episode")} · version ${report.version}`;
  drawRuns();
  drawSuccess();
  drawComparisons();
  drawHead();
  drawFilters();
  filter();
  byId("scroller").addEventListener("scroll", () => requestAnimationFrame(drawRows), {passive: true});
  byId("rows").addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-place]");
    if (line && !event.target.closest("a")) location.hash = link(shown[Number(line.dataset.place)]);
  });
  byId("theme").addEventListener("click", turnTheme);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  window.addEventListener("resize", () => requestAnimationFrame(drawRows));
  window.addEventListener("hashchange", follow);
  document.addEventListener("keydown", onKey);
  await follow();
  document.documentElement.dataset.ready = "episodes";
  performance.mark("episodes");
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await drawPlots();
  document.documentElement.dataset.ready = "all";
}
start();
