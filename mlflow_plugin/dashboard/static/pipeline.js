// The pipeline: what stands where, what is stale, what mending it takes, and what that would throw away.
import {PipelineGraph} from "./graph.js";
import {html, useEffect, useRef, useState} from "./html.js";
import {Running} from "./live.js";
import {Command, Heading, Losses} from "./parts.js";
import {address} from "./route.js";
import {Icon, State} from "./states.js";
import {approximately, cost, plural} from "./words.js";

const LEAST_BESIDE_REM = 32;

export function PipelineView({experiment, project, pipeline, running, questions, heard}) {
  const {phases} = pipeline;
  return html`
    <${Summary} project=${project} pipeline=${pipeline} />
    ${questions.map((question) => html`<${Asked} key=${question.run_id} question=${question} href=${address(experiment, project, "questions")} />`)}
    ${phases.length === 0
      ? html`<p class="panel quiet">No phase of this project has been started in this experiment yet.</p>`
      : html`<${Board} ...${{experiment, project, pipeline, running}} />`}
    <${Running} running=${running} heard=${heard} experiment=${experiment} />
    <${Remarks} phases=${phases.filter(({mend}) => !mend)} />
  `;
}

/** The graph, and what to mend: below it, or beside it where the graph is tall and leaves the room. */
function Board({experiment, project, pipeline, running}) {
  const board = useRef(null);
  const [room, setRoom] = useState(0);
  const [laid, setLaid] = useState({width: 0, down: false});
  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => setRoom(Math.floor(entry.contentRect.width)));
    watcher.observe(board.current);
    return () => watcher.disconnect();
  }, []);
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const beside = laid.down && room - laid.width > LEAST_BESIDE_REM * rem;
  return html`<div class=${`board${beside ? " beside" : ""}`} ref=${board}>
    <${PipelineGraph} ...${{experiment, project, phases: pipeline.phases, running, room}} onLaid=${setLaid} />
    <${Mends} pipeline=${pipeline} experiment=${experiment} />
  </div>`;
}

function Summary({project, pipeline}) {
  const counts = new Map();
  for (const {state} of pipeline.phases) counts.set(state, (counts.get(state) ?? 0) + 1);
  return html`<div class="summary">
    <${Heading}><span class="name">${project}</span><//>
    <ul aria-label="States">${[...counts].map(([state, count]) => html`<li key=${state}><${State} state=${state} label=${`${count} ${state}`} /></li>`)}</ul>
    <p>${pipeline.summary.sentence}</p>
  </div>`;
}

function Asked({question, href}) {
  return html`<p class="asked"><${Icon} state="asking" /><span><b class="name">${question.phase}</b> asks: ${question.reasons[0] ?? "a decision is needed"}</span> <a class="button" href=${href}>Show the question</a></p>`;
}

/** One panel for each way to mend: first the one that mends all. Phases that the same command mends share it. */
function Mends({pipeline, experiment}) {
  const groups = new Map();
  const broken = pipeline.phases.filter(({mend}) => mend);
  for (const phase of broken) {
    const {phases, mend} = groups.get(phase.mend.command) ?? {phases: [], mend: phase.mend};
    groups.set(mend.command, {phases: [...phases, phase], mend});
  }
  const all = pipeline.summary.mend;
  const whole = all && groups.size > 1 && !groups.has(all.command) ? [{phases: broken, mend: all, title: "All of it"}] : [];
  const panels = [...whole, ...groups.values()];
  if (!panels.length) return null;
  return html`<section aria-labelledby="to-mend">
    <h2 id="to-mend">What to mend</h2>
    <div class="mends">${panels.map((panel) => html`<${Mend} key=${panel.mend.command} ...${panel} experiment=${experiment} />`)}</div>
  </section>`;
}

function Mend({phases, mend, title, experiment}) {
  const remarks = title ? [] : phases.flatMap((phase) => phase.remarks.map((remark) => [phase.phase, remark]));
  return html`<article class="panel mend">
    <h3>${title ?? phases.map((phase) => html`<span class="of" key=${phase.phase}><b class="name">${phase.phase}</b> <${State} state=${phase.state} /></span>`)}</h3>
    ${remarks.length > 0 && html`<ul class="reasons">${remarks.map(([name, remark]) => html`<li><b class="name">${name}</b> ${remark}</li>`)}</ul>`}
    <dl class="terms">
      <div><dt>To run, in order</dt><dd>${mend.phases.map((name, index) => html`${index > 0 && html`<span class="quiet"> → </span>`}<span class="name">${name}</span>`)}</dd></div>
      <div><dt>Time</dt><dd>${mend.seconds === null ? "no earlier run tells" : approximately(mend.seconds)}</dd></div>
      <div><dt>Cost</dt><dd>${mend.cost_usd === null ? "not known" : cost(mend.cost_usd)}</dd></div>
      <div class=${mend.would_lose.length ? "lost" : ""}>
        <dt>Would be thrown away</dt>
        <dd>${mend.would_lose.length ? html`<b>${plural(mend.would_lose.length, "good run")}</b><${Losses} losses=${mend.would_lose} experiment=${experiment} />` : "nothing"}</dd>
      </div>
    </dl>
    <${Command} text=${mend.command} label=${`Command that mends ${title ?? phases[0].phase}`} />
  </article>`;
}

function Remarks({phases}) {
  const remarked = phases.filter((phase) => phase.remarks.length);
  if (!remarked.length) return null;
  return html`<section class="panel" aria-labelledby="remarks">
    <h2 id="remarks">Why</h2>
    <dl class="remarks">${remarked.map(
      (phase) => html`<div key=${phase.phase}><dt class="name">${phase.phase}</dt>${phase.remarks.map((remark) => html`<dd>${remark}</dd>`)}</div>`,
    )}</dl>
  </section>`;
}
