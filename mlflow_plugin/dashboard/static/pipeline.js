// The pipeline: the state of each phase, the updates, their price, and the runs that they supersede.
import {PipelineGraph} from "./graph.js";
import {html, useEffect, useRef, useState} from "./html.js";
import {Running} from "./live.js";
import {Heading, Panel} from "./parts.js";
import {address} from "./route.js";
import {Icon, State} from "./states.js";
import {Updates} from "./update.js";

const LEAST_BESIDE_REM = 32;

export function PipelineView({experiment, project, pipeline, running, questions, heard}) {
  const {phases} = pipeline;
  const toQuestions = address(experiment, project, "questions");
  return html`
    <${Summary} project=${project} pipeline=${pipeline} />
    ${questions.map((question) => html`<${Asked} key=${question.run_id} question=${question} href=${toQuestions} />`)}
    ${
      phases.length === 0
        ? html`<p class="panel quiet">No phase of this project has been started in this experiment yet.</p>`
        : html`<${Board} ...${{experiment, project, pipeline, running}} />`
    }
    <${Running} running=${running} heard=${heard} experiment=${experiment} />
    <${Remarks} phases=${phases.filter(({update}) => !update)} />
  `;
}

/** The graph and the updates: below it, or beside it where the graph is tall and leaves the room. */
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
    <${Updates} pipeline=${pipeline} experiment=${experiment} />
  </div>`;
}

function Summary({project, pipeline}) {
  const counts = new Map();
  for (const {state} of pipeline.phases) counts.set(state, (counts.get(state) ?? 0) + 1);
  const states = [...counts].map(([state, count]) => ({state, label: `${count} ${state}`}));
  return html`<div class="summary">
    <${Heading}><span class="name">${project}</span><//>
    <ul aria-label="States">
      ${states.map((one) => html`<li key=${one.state}><${State} ...${one} /></li>`)}
    </ul>
    <p>${pipeline.summary.sentence}</p>
  </div>`;
}

function Asked({question, href}) {
  const why = question.reasons[0] ?? "a decision is needed";
  return html`<p class="asked">
    <${Icon} state="asking" />
    <span><b class="name">${question.phase}</b> asks: ${why}</span>
    <a class="button" href=${href}>Show the question</a>
  </p>`;
}

function Remarks({phases}) {
  const remarked = phases.filter((phase) => phase.remarks.length);
  if (!remarked.length) return null;
  return html`<${Panel} title="Why">
    <dl class="remarks">
      ${remarked.map(
        (phase) => html`<div key=${phase.phase}>
          <dt class="name">${phase.phase}</dt>
          ${phase.remarks.map((remark) => html`<dd>${remark}</dd>`)}
        </div>`,
      )}
    </dl>
  <//>`;
}
