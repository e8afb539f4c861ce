// The runs of one phase over time, with their quality; two of them can be compared.
import * as data from "./data.js";
import {html, useMemo, useState} from "./html.js";
import {Heading, Moment, QualityBar, RunLink, Table, Waiting, useLoaded, usePages} from "./parts.js";
import {QualityPlot} from "./plot.js";
import {address, compareInMlflow} from "./route.js";
import {State, runState} from "./states.js";
import {cost, duration, number, plural} from "./words.js";

const FIRST_RUNS = 500;
const MOST_RUNS = 5000;

export function PhaseView({experiment, project, phase, run, version}) {
  const [atMost, setAtMost] = useState(FIRST_RUNS);
  const keys = [experiment, project, phase, version, atMost];
  const {data: found, error} = useLoaded(() => data.runs(experiment, project, phase, atMost), keys);
  return html`
    <p class="trail"><a href=${address(experiment, project)}>Pipeline</a></p>
    <${Heading}><span class="name">${phase}</span><//>
    ${!found || error ? html`<${Waiting} error=${error} />` : null}
    ${found && html`<${Runs} ...${{experiment, project, found, sought: run}} more=${atMost < MOST_RUNS && (() => setAtMost(MOST_RUNS))} />`}
  `;
}

function Runs({experiment, project, found, sought, more}) {
  const {runs, quality, gates} = found;
  if (!runs.length) return html`<p class="panel quiet">This phase has no runs yet.</p>`;
  return html`
    ${quality && html`<p class="quiet">Quality is <b class="name">${quality.metric}</b>: good ${quality.higher_is_better === false ? "up to" : "from"} ${number(quality.good)}, poor ${quality.higher_is_better === false ? "above" : "below"} ${number(quality.poor)}.${gates?.length ? ` It must also hold: ${gates.map((gate) => gate.text ?? gate).join("; ")}.` : ""}</p>`}
    ${quality && html`<section class="panel" aria-label="Quality over time"><${QualityPlot} runs=${runs} quality=${quality} /></section>`}
    <${RunTable} ...${{experiment, project, runs, quality, sought}} />
    ${found.truncated && html`<p class="quiet">The newest ${runs.length.toLocaleString("en-US")} runs are shown; there are more. ${more && !data.report && html`<button type="button" onClick=${more}>Show up to ${MOST_RUNS.toLocaleString("en-US")}</button>`}</p>`}
    ${sought && !runs.some((run) => run.run_id === sought) && html`<p class="hint">Run <${RunLink} id=${sought} experiment=${experiment} /> is older than those shown.</p>`}
  `;
}

const COLUMNS = {
  when: ["Completed at", (run) => run.completed_at ?? run.started_at ?? ""],
  quality: ["Quality", (run) => run.quality],
  duration: ["Duration", (run) => run.duration_seconds],
  cost: ["Cost", (run) => run.cost_usd],
};

function sorted(runs, {column, falling}) {
  const value = COLUMNS[column][1];
  const known = runs.filter((run) => value(run) !== null && value(run) !== undefined);
  const rest = runs.filter((run) => value(run) === null || value(run) === undefined);
  const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
  return [...known.sort((a, b) => (falling ? order(b, a) : order(a, b))), ...rest];
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
    const found = runs.find((run) => run.run_id === sought);
    const others = sorted(runs, sort);
    return found ? [found, ...others.filter((run) => run !== found)] : others;
  }, [runs, sort, sought]);
  const [shown, pages] = usePages(ordered);
  const among = useMemo(() => extremes(runs), [runs]);
  const tick = (id) => setTicked((before) => (before.includes(id) ? before.filter((one) => one !== id) : [...before, id].slice(-2)));
  const turn = (column) => setSort((before) => ({column, falling: before.column === column ? !before.falling : true}));
  return html`<section class="panel" aria-labelledby="runs">
    <div class="head"><h2 id="runs">${plural(runs.length, "run")}</h2>${!data.report && html`<${Compare} ...${{experiment, project, ticked}} />`}</div>
    <${Table} label="Runs">
      <thead><tr>
        ${!data.report && html`<th><span class="unseen">Compare</span></th>`}
        <th>Run</th><th>State</th>
        ${Object.entries(COLUMNS).filter(([column]) => column !== "quality" || quality).map(([column, [title]]) => html`<${Sorter} key=${column} ...${{column, title, sort, turn}} />`)}
        <th>Hardware</th><th>By</th><th>Why</th>
      </tr></thead>
      <tbody>${shown.map((run) => html`<${Row} key=${run.run_id} ...${{run, quality, among, experiment, tick}} ticked=${ticked.includes(run.run_id)} sought=${run.run_id === sought} />`)}</tbody>
    <//>
    ${pages}
  </section>`;
}

function Sorter({column, title, sort, turn}) {
  const chosen = sort.column === column;
  const sense = chosen ? (sort.falling ? "descending" : "ascending") : "none";
  return html`<th aria-sort=${sense} class=${column === "when" ? "" : "number"}><button type="button" class="sorter" onClick=${() => turn(column)}>${title}<span aria-hidden="true">${chosen ? (sort.falling ? " ↓" : " ↑") : ""}</span></button></th>`;
}

function Row({run, quality, among, experiment, tick, ticked, sought}) {
  const id = run.run_id;
  return html`<tr class=${sought ? "sought" : ""}>
    ${!data.report && html`<td><input type="checkbox" checked=${ticked} onChange=${() => tick(id)} aria-label=${`Compare ${run.short}`} /></td>`}
    <td><${RunLink} id=${id} experiment=${experiment} /></td>
    <td><${State} state=${runState(run)} /></td>
    <td>${run.completed_at ? html`<${Moment} at=${run.completed_at} />` : html`<span class="quiet">started <${Moment} at=${run.started_at} /></span>`}</td>
    ${quality && html`<td class="number">${run.quality === null ? "–" : html`<span class="with-bar"><span class="figure">${number(run.quality)}</span><${QualityBar} quality=${{...quality, value: run.quality}} among=${among} /></span>`}</td>`}
    <td class="number">${duration(run.duration_seconds)}</td>
    <td class="number">${cost(run.cost_usd)}</td>
    <td class="text"><span class="two-lines" title=${run.hardware}>${run.hardware ?? "–"}</span></td>
    <td class="text">${run.user ?? "–"}</td>
    <td class="text why">${[...run.gate_failures, run.quarantined && `quarantined: ${run.quarantined}`, run.reason].filter(Boolean).join("; ")}</td>
  </tr>`;
}

function Compare({experiment, project, ticked}) {
  const ready = ticked.length === 2;
  return html`<div class="compare-bar">
    <span class="quiet" role="status">${ready ? "" : ticked.length ? "Tick one more run to compare" : "Tick two runs to compare"}</span>
    ${ready && html`<a class="button main" href=${address(experiment, project, "compare", ticked[1], ticked[0])}>Compare the two</a>`}
    ${ready && html`<a href=${compareInMlflow(experiment, ticked)}>in MLflow</a>`}
  </div>`;
}
