// Updates: the phases to run, the time and cost, and the runs that they supersede.
import {html, useState} from "./html.js";
import {Command, SupersededRuns} from "./parts.js";
import {State} from "./states.js";
import {approximately, cost, isKnown, plural} from "./words.js";

const AT_FIRST = 8;
const MANY_PHASES = 30;

/** One panel for each update: first the one for all phases. Phases with the same command share a panel. */
export function Updates({pipeline, experiment}) {
  const [whole, setWhole] = useState(false);
  const groups = new Map();
  const outdated = pipeline.phases.filter(({update}) => update);
  for (const phase of outdated) {
    const {phases, update} = groups.get(phase.update.command) ?? {phases: [], update: phase.update};
    groups.set(update.command, {phases: [...phases, phase], update});
  }
  const all = pipeline.summary.update;
  const apart = all && groups.size > 1 && !groups.has(all.command);
  const panels = [...(apart ? [{phases: outdated, update: all, title: "All phases"}] : []), ...groups.values()];
  const shown = whole ? panels : panels.slice(0, AT_FIRST);
  if (!panels.length) return null;
  return html`<section aria-labelledby="updates">
    <h2 id="updates">Bring up to date</h2>
    <div class="updates">
      ${shown.map((panel) => html`<${Update} key=${panel.update.command} ...${panel} experiment=${experiment} />`)}
    </div>
    ${
      shown.length < panels.length &&
      html`<button type="button" onClick=${() => setWhole(true)}>Show all ${panels.length} updates</button>`
    }
  </section>`;
}

function Update({phases, update, title, experiment}) {
  const remarks = title ? [] : phases.flatMap((phase) => phase.remarks.map((remark) => [phase.phase, remark]));
  return html`<article class="panel update">
    <h3>${title ?? phases.map((phase) => html`<${Outdated} key=${phase.phase} phase=${phase} />`)}</h3>
    <ul class="reasons">
      ${remarks.map(([name, remark]) => html`<li><b class="name">${name}</b>: ${remark}</li>`)}
    </ul>
    <${Terms} update=${update} experiment=${experiment} />
    <${Command} text=${update.command} label=${`Command that updates ${title ?? phases[0].phase}`} />
  </article>`;
}

function Outdated({phase}) {
  return html`<span class="of"><b class="name">${phase.phase}</b> <${State} state=${phase.state} /></span>`;
}

function Terms({update, experiment}) {
  const arrow = html`<span class="quiet"> → </span>`;
  const {superseded} = update;
  const named = update.phases.slice(0, MANY_PHASES);
  const rest = update.phases.length - named.length;
  return html`<dl class="terms">
    <div>
      <dt>To run, in order</dt>
      <dd>
        ${named.map((name, index) => [index > 0 && arrow, html`<span class="name">${name}</span>`])}
        ${rest > 0 && html`${arrow}${plural(rest, "more phase")}`}
      </dd>
    </div>
    <div>
      <dt>Time</dt>
      <dd>${isKnown(update.seconds) ? approximately(update.seconds) : "no earlier run to estimate from"}</dd>
    </div>
    <div>
      <dt>Cost</dt>
      <dd>${isKnown(update.cost_usd) ? cost(update.cost_usd) : "not known"}</dd>
    </div>
    <div class=${superseded.length ? "superseding" : ""}>
      <dt>Supersedes</dt>
      <dd>${superseded.length ? html`<b>${plural(superseded.length, "good run")}</b>` : "no good run"}</dd>
      ${superseded.length > 0 && html`<dd><${SupersededRuns} runs=${superseded} experiment=${experiment} /></dd>`}
    </div>
  </dl>`;
}
