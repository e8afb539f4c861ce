// Small parts that several views share.
import {report} from "./data.js";
import {html, useEffect, useLayoutEffect, useMemo, useRef, useState} from "./html.js";
import {runInMlflow} from "./route.js";
import {clock, cost, duration, number, short} from "./words.js";

export function Moment({at}) {
  if (!at) return html`<span class="quiet">–</span>`;
  return html`<time datetime=${at} title=${`${clock(at)} UTC`}>${clock(at)}</time>`;
}

/** A run's short id; a link to its page in MLflow where there is a server. */
export function RunLink({id, experiment}) {
  if (!id) return html`<span class="quiet">–</span>`;
  if (report) return html`<code title=${id}>${short(id)}</code>`;
  const title = `Run ${id} in MLflow`;
  return html`<a href=${runInMlflow(experiment, id)} title=${title}><code>${short(id)}</code></a>`;
}

/** A text that names a run by its short id, which is then a link. */
export function Linked({text, id, experiment}) {
  const [before, ...after] = text.split(short(id));
  if (!after.length) return html`<${RunLink} id=${id} experiment=${experiment} /> ${text}`;
  return html`${before}<${RunLink} id=${id} experiment=${experiment} />${after.join(short(id))}`;
}

/** A run's phase and its id. */
export function RunName({run, experiment}) {
  return html`<span><b class="name">${run.phase}</b> <${RunLink} id=${run.run_id} experiment=${experiment} /></span>`;
}

/** A part of a view, under a heading of its own. */
export function Panel({title, count = 0, aside = null, children}) {
  const id = title.toLowerCase().replaceAll(" ", "-");
  return html`<section class="panel" aria-labelledby=${id}>
    <div class="head">
      <h2 id=${id}>${title}${count > 0 && html` <span class="count">${count}</span>`}</h2>
      ${aside}
    </div>
    ${children}
  </section>`;
}

const LONG = 140;

/** A text of any length; a very long one is cut, with a button that shows the rest. */
export function Long({text}) {
  const [whole, setWhole] = useState(text.length <= LONG * 1.3);
  if (whole) return text;
  const more = html`<button type="button" class="more" onClick=${() => setWhole(true)}>more</button>`;
  // Not inside a word, unless that is all there is.
  return html`${text.slice(0, LONG).replace(/(?<=.{60})\s\S*$/s, "")} ... ${more}`;
}

/** A command with a button that copies it. */
export function Command({text, label = "Command"}) {
  const [copied, setCopied] = useState("");
  const reset = useRef(0);
  useEffect(() => () => clearTimeout(reset.current), []);
  const copy = async () => {
    setCopied((await copyText(text)) ? "Copied" : "Select it and copy");
    clearTimeout(reset.current);
    reset.current = setTimeout(() => setCopied(""), 2500);
  };
  // A line never ends inside a word, as after the hyphen of an option.
  const words = text.split(" ").map((word, index) => [index > 0 && " ", html`<span>${word}</span>`]);
  return html`<div class="command">
    <code tabindex="0" role="group" aria-label=${label}>${words}</code>
    <button type="button" onClick=${copy} aria-label=${`Copy: ${text}`}>${copied || "Copy"}</button>
    <span class="unseen" role="status">${copied}</span>
  </div>`;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain http there is no clipboard API; the older way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Where a quality lies between its thresholds; in words for those who do not see it. The bar reaches over `among` too,
 * so that the bars of a table are of one scale. */
export function QualityBar({quality, among = [], numbered = false}) {
  const {metric, value, good, poor, higher_is_better: rising = true} = quality;
  const [low, high] = span([good, poor, value, ...among].filter(Number.isFinite));
  const at = (x) => Math.max(0, Math.min(100, ((x - low) / (high - low)) * 100));
  const [left, right] = [at(Math.min(good, poor)), at(Math.max(good, poor))];
  const sense = rising
    ? `good from ${number(good)}, poor below ${number(poor)}`
    : `good up to ${number(good)}, poor above ${number(poor)}`;
  const label = `${metric} ${value === null ? "unknown" : number(value)}: ${sense}`;
  const [lower, upper] = [Math.min(good, poor), Math.max(good, poor)];
  return html`<svg class="quality" role="img" aria-label=${label}>
    <title>${label}</title>
    <rect class=${rising ? "poor" : "good"} x="0" y="0.35rem" width="${left}%" height="0.3rem" />
    <rect class="borderline" x="${left}%" y="0.35rem" width="${Math.max(0, right - left)}%" height="0.3rem" />
    <rect class=${rising ? "good" : "poor"} x="${right}%" y="0.35rem" width="${100 - right}%" height="0.3rem" />
    ${[good, poor].map((x) => html`<line class="threshold" x1="${at(x)}%" x2="${at(x)}%" y1="0.1rem" y2="0.9rem" />`)}
    ${numbered && html`<text x="${left}%" dx="0.2em" y="100%" text-anchor="end">${number(lower)}</text>`}
    ${numbered && html`<text x="${right}%" dx="-0.2em" y="100%">${number(upper)}</text>`}
    ${Number.isFinite(value) && html`<circle class="value" cx="${at(value)}%" cy="0.5rem" r="0.28rem" />`}
  </svg>`;
}

function span(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const margin = (most - least || Math.abs(most) || 1) * 0.35;
  // Most qualities are shares of one: then the bar is the whole range, or its upper part.
  if (least >= 0 && most <= 1) return [Math.max(0, least - margin), 1];
  return [least - margin, most + margin];
}

/** Superseded runs, each with its quality, time and cost. */
export function SupersededRuns({runs, experiment}) {
  return html`<ul class="superseded-runs">${runs.map(
    (run) => html`<li key=${run.run_id}>
      <b class="name">${run.phase}</b> <${RunLink} id=${run.run_id} experiment=${experiment} />
      ${run.quality !== null && html`<span class="figure">${run.metric} ${number(run.quality)}</span>`}
      ${run.finished_at && html`<span>finished <${Moment} at=${run.finished_at} /></span>`}
      ${run.duration_seconds !== null && html`<span>took ${duration(run.duration_seconds)}</span>`}
      ${run.cost_usd !== null && html`<span>cost ${cost(run.cost_usd)}</span>`}
    </li>`,
  )}</ul>`;
}

/** A table that scrolls by itself when it is wider than the page, also by keyboard. On a telephone each row is a list of
 * its cells instead, for which they carry the titles of their columns. */
export function Table({label, children}) {
  const table = useRef(null);
  useLayoutEffect(() => {
    const [head, ...rows] = table.current.rows;
    const titles = [...head.cells].map((cell) => cell.textContent.replace(/[↓↑]/, "").trim());
    for (const row of rows) for (const [index, cell] of [...row.cells].entries()) cell.dataset.title = titles[index];
  });
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${label}>
    <table ref=${table}>${children}</table>
  </div>`;
}

export const grouped = (count) => count.toLocaleString("en-US");

/** The rows of one page of a long list, and the control that turns the pages. */
export function usePages(rows, size = 50) {
  const [page, setPage] = useState(0);
  const last = Math.max(0, Math.ceil(rows.length / size) - 1);
  const now = Math.min(page, last);
  const shown = useMemo(() => rows.slice(now * size, (now + 1) * size), [rows, now, size]);
  const control =
    last > 0 &&
    html`<nav class="pages" aria-label="Pages">
      <button type="button" disabled=${now === 0} onClick=${() => setPage(now - 1)}>Previous</button>
      <span role="status">${now * size + 1} to ${now * size + shown.length} of ${grouped(rows.length)}</span>
      <button type="button" disabled=${now === last} onClick=${() => setPage(now + 1)}>Next</button>
    </nav>`;
  return [shown, control];
}

/** Loads data for a view, and again when `keys` change; what was there stays until the new is. */
export function useLoaded(load, keys) {
  const [state, setState] = useState({data: null, error: null});
  useEffect(() => {
    let current = true;
    load().then(
      (data) => current && setState({data, error: null}),
      (error) => current && setState((before) => ({...before, error})),
    );
    return () => (current = false);
  }, keys);
  return state;
}

/** The time by this machine's clock (ms), anew every `every` ms while `on`. */
export function useNow(every, on = true) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!on) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every, on]);
  return now;
}

export function Waiting({error}) {
  if (error) return html`<p class="problem" role="alert">${error.message}</p>`;
  return html`<p class="quiet">Loading ...</p>`;
}

/** The heading of a view; it takes the focus when the view opens. */
export function Heading({children}) {
  return html`<h1 tabindex="-1">${children}</h1>`;
}
