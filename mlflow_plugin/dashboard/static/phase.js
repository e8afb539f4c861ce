// The runs of one phase over time, with their quality; two of them can be compared.
import * as data from "./data.js";
import {html, useMemo, useState} from "./html.js";
import {Heading, Long, Moment, QualityBar, RunLink, Table, Waiting, grouped, useLoaded, usePages} from "./parts.js";
import {QualityPlot} from "./plot.js";
import {address, compareInMlflow} from "./route.js";
import {State, runState} from "./states.js";
import {cost, duration, isKnown, number, plural} from "./words.js";

const FIRST_RUNS = 500;
const MOST_RUNS = 5000;

export function PhaseView({experiment, project, phase, run, version}) {
  const [atMost, setAtMost] = useState(FIRST_RUNS);
  const keys = [experiment, project, phase, version, atMost];
  const {data: found, error} = useLoaded(() => data.runs(experiment, project, phase, atMost), keys);
  const more = !data.report && atMost < MOST_RUNS ? () => setAtMost(MOST_RUNS) : null;
  return html`
    <p class="trail"><a href=${address(experiment, project)}>Pipeline</a></p>
    <${Heading}><span class="name">${phase}</span><//>
    ${(!found || error) && html`<${Waiting} error=${error} />`}
    ${found && html`<${Runs} ...${{experiment, project, found, more}} sought=${run} />`}
  `;
}

function Runs({experiment, project, found, sought, more}) {
  const {runs, quality, gates} = found;
  if (!runs.length) return html`<p class="panel quiet">This phase has no runs yet.</p>`;
  return html`
    ${quality && html`<${Measure} quality=${quality} gates=${gates} />`}
    ${
      quality &&
      html`<section class="panel" aria-label="Quality over time"><${QualityPlot} ...${{runs, quality}} /></section>`
    }
    ${
      sought &&
      !runs.some((run) => run.run_id === sought) &&
      html`<p class="hint">Run <${RunLink} id=${sought} experiment=${experiment} /> is older than the runs shown.</p>`
    }
    <${RunTable} ...${{experiment, project, runs, quality, sought}} />
    ${found.truncated && html`<${Truncated} count=${runs.length} more=${more} />`}
  `;
}

function Measure({quality, gates}) {
  const {metric, good, poor} = quality;
  const [from, below] = quality.higher_is_better ? ["from", "below"] : ["up to", "above"];
  const also = gates.length ? ` It must also hold: ${gates.map((gate) => gate.text).join("; ")}.` : "";
  return html`<p class="quiet">
    Quality is <b class="name">${metric}</b>: good ${from} ${number(good)}, poor ${below} ${number(poor)}.${also}
  </p>`;
}

function Truncated({count, more}) {
  return html`<p class="quiet">
    The newest ${grouped(count)} runs are shown. There are more.${" "}
    ${more && html`<button type="button" onClick=${more}>Show up to ${grouped(MOST_RUNS)}</button>`}
  </p>`;
}

const COLUMNS = {
  when: ["Completed at", (run) => run.completed_at ?? run.started_at ?? ""],
  quality: ["Quality", (run) => run.quality],
  duration: ["Duration", (run) => run.duration_seconds],
  cost: ["Cost", (run) => run.cost_usd],
};

/** Runs in the order of a column; those that have no value in it come last. */
function sorted(runs, {column, falling}) {
  const value = COLUMNS[column][1];
  const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
  const known = runs.filter((run) => isKnown(value(run))).sort((a, b) => (falling ? order(b, a) : order(a, b)));
  return [...known, ...runs.filter((run) => !isKnown(value(run)))];
}

/** The least and the greatest quality. */
function extremes(runs) {
  const known = runs.map((run) => run.quality).filter(Number.isFinite);
  return [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
}

function RunTable({experiment, project, runs, quality, sought}) {
  const [sort, setSort] = useState({column: "when", falling: true});
  const [ticked, setTicked] = useState([]);
  const ordered = useMemo(() => {
    const found = runs.filter((run) => run.run_id === sought);
    return [...found, ...sorted(runs, sort).filter((run) => run.run_id !== sought)];
  }, [runs, sort, sought]);
  const [shown, pages] = usePages(ordered);
  const among = useMemo(() => extremes(runs), [runs]);
  const tick = (id) =>
    setTicked((before) => (before.includes(id) ? before.filter((one) => one !== id) : [...before, id].slice(-2)));
  const turn = (column) => setSort((before) => ({column, falling: before.column === column ? !before.falling : true}));
  const marks = (id) => ({ticked: ticked.includes(id), sought: id === sought});
  return html`<section class="panel" aria-labelledby="runs">
    <div class="head">
      <h2 id="runs">${plural(grouped(runs.length), "run")}</h2>
      ${!data.report && html`<${Compare} ...${{experiment, project, ticked}} />`}
    </div>
    <${Table} label="Runs">
      <${Head} ...${{quality, sort, turn}} />
      <tbody>
        ${shown.map(
          (run) => html`<${Row} key=${run.run_id} run=${run} ...${{quality, among, experiment, tick}}
            ...${marks(run.run_id)} />`,
        )}
      </tbody>
    <//>
    ${pages}
  </section>`;
}

function Head({quality, sort, turn}) {
  const columns = Object.entries(COLUMNS).filter(([column]) => column !== "quality" || quality);
  return html`<thead>
    <tr>
      ${!data.report && html`<th><span class="unseen">Compare</span></th>`}
      <th>Run</th>
      <th>State</th>
      ${columns.map(([column, [title]]) => html`<${Sorter} key=${column} ...${{column, title, sort, turn}} />`)}
      <th>Hardware</th>
      <th>By</th>
      <th>Why</th>
    </tr>
  </thead>`;
}

function Sorter({column, title, sort, turn}) {
  const sense = sort.column !== column ? "none" : sort.falling ? "descending" : "ascending";
  const arrow = {none: "", descending: " ↓", ascending: " ↑"}[sense];
  return html`<th aria-sort=${sense} class=${column === "when" ? "" : "number"}>
    <button type="button" class="sorter" onClick=${() => turn(column)}>
      ${title}<span aria-hidden="true">${arrow}</span>
    </button>
  </th>`;
}

function Row({run, quality, among, experiment, tick, ticked, sought}) {
  const id = run.run_id;
  const quarantined = run.quarantined && `quarantined: ${run.quarantined}`;
  const why = [...run.gate_failures, quarantined, run.reason].filter(Boolean).join("; ");
  const label = `Compare ${run.short}`;
  const box = html`<input type="checkbox" checked=${ticked} onChange=${() => tick(id)} aria-label=${label} />`;
  return html`<tr class=${sought ? "sought" : ""}>
    ${!data.report && html`<td>${box}</td>`}
    <td><${RunLink} id=${id} experiment=${experiment} /></td>
    <td><${State} state=${runState(run)} /></td>
    <td><${When} run=${run} /></td>
    ${quality && html`<td class="number"><${Reached} ...${{run, quality, among}} /></td>`}
    <td class="number">${duration(run.duration_seconds)}</td>
    <td class="number">${cost(run.cost_usd)}</td>
    <td class="text"><span class="two-lines" title=${run.hardware}>${run.hardware ?? "–"}</span></td>
    <td class="who">${run.user ?? "–"}</td>
    <td class="text why"><${Long} text=${why} /><${Compared} findings=${run.findings} /></td>
  </tr>`;
}

/** What the verdict found out about the files that an earlier run had read. */
function Compared({findings}) {
  if (!findings) return null;
  const {changed, unclear, mentions, compared} = findings;
  const lines = [...changed, ...unclear, ...mentions];
  const files = `${plural(grouped(compared), "observed file")} compared`;
  if (!lines.length) return html` <span class="quiet">${files}</span>`;
  return html`<details>
    <summary>${files}</summary>
    <ul>${lines.map((line) => html`<li key=${line}>${line}</li>`)}</ul>
  </details>`;
}

function When({run}) {
  if (run.completed_at) return html`<${Moment} at=${run.completed_at} />`;
  return html`<span class="quiet">started <${Moment} at=${run.started_at} /></span>`;
}

function Reached({run, quality, among}) {
  if (!isKnown(run.quality)) return "–";
  return html`<span class="with-bar">
    <span class="figure">${number(run.quality)}</span>
    <${QualityBar} quality=${{...quality, value: run.quality}} among=${among} />
  </span>`;
}

function Compare({experiment, project, ticked}) {
  const [first, second] = ticked;
  if (!second) {
    const hint = first ? "Tick one more run to compare" : "Tick two runs to compare";
    return html`<span class="quiet" role="status">${hint}</span>`;
  }
  return html`<span class="compare-bar">
    <a class="button main" href=${address(experiment, project, "compare", second, first)}>Compare the two</a>
    <a href=${compareInMlflow(experiment, ticked)}>in MLflow</a>
  </span>`;
}
