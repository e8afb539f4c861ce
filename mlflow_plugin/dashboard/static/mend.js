// What to mend: which phases to run, what that takes and costs, and what it would throw away.
import {html, useState} from "./html.js";
import {Command, Losses} from "./parts.js";
import {State} from "./states.js";
import {approximately, cost, isKnown, plural} from "./words.js";

const AT_FIRST = 8;
const MANY_PHASES = 30;

/** One panel for each way to mend: first the one that mends all. Phases that the same command mends share it. */
export function Mends({pipeline, experiment}) {
  const [whole, setWhole] = useState(false);
  const groups = new Map();
  const broken = pipeline.phases.filter(({mend}) => mend);
  for (const phase of broken) {
    const {phases, mend} = groups.get(phase.mend.command) ?? {phases: [], mend: phase.mend};
    groups.set(mend.command, {phases: [...phases, phase], mend});
  }
  const all = pipeline.summary.mend;
  const apart = all && groups.size > 1 && !groups.has(all.command);
  const panels = [...(apart ? [{phases: broken, mend: all, title: "All of it"}] : []), ...groups.values()];
  const shown = whole ? panels : panels.slice(0, AT_FIRST);
  if (!panels.length) return null;
  return html`<section aria-labelledby="to-mend">
    <h2 id="to-mend">What to mend</h2>
    <div class="mends">
      ${shown.map((panel) => html`<${Mend} key=${panel.mend.command} ...${panel} experiment=${experiment} />`)}
    </div>
    ${
      shown.length < panels.length &&
      html`<button type="button" onClick=${() => setWhole(true)}>Show all ${panels.length} ways to mend</button>`
    }
  </section>`;
}

function Mend({phases, mend, title, experiment}) {
  const remarks = title ? [] : phases.flatMap((phase) => phase.remarks.map((remark) => [phase.phase, remark]));
  return html`<article class="panel mend">
    <h3>${title ?? phases.map((phase) => html`<${Broken} key=${phase.phase} phase=${phase} />`)}</h3>
    <ul class="reasons">
      ${remarks.map(([name, remark]) => html`<li><b class="name">${name}</b>: ${remark}</li>`)}
    </ul>
    <${Terms} mend=${mend} experiment=${experiment} />
    <${Command} text=${mend.command} label=${`Command that mends ${title ?? phases[0].phase}`} />
  </article>`;
}

function Broken({phase}) {
  return html`<span class="of"><b class="name">${phase.phase}</b> <${State} state=${phase.state} /></span>`;
}

function Terms({mend, experiment}) {
  const arrow = html`<span class="quiet"> → </span>`;
  const lost = mend.would_lose;
  const named = mend.phases.slice(0, MANY_PHASES);
  const rest = mend.phases.length - named.length;
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
      <dd>${isKnown(mend.seconds) ? approximately(mend.seconds) : "no earlier run tells"}</dd>
    </div>
    <div>
      <dt>Cost</dt>
      <dd>${isKnown(mend.cost_usd) ? cost(mend.cost_usd) : "not known"}</dd>
    </div>
    <div class=${lost.length ? "lost" : ""}>
      <dt>Would be thrown away</dt>
      <dd>${lost.length ? html`<b>${plural(lost.length, "run")}</b>` : "nothing"}</dd>
      ${lost.length > 0 && html`<dd><${Losses} losses=${lost} experiment=${experiment} /></dd>`}
    </div>
  </dl>`;
}
