// Recoverable runs: superseded, quarantined with the runs that depend on them, resumable, and deleted in MLflow.
import * as data from "./data.js";
import {html} from "./html.js";
import {Command, Heading, Linked, Long, Moment, Panel, RunLink, RunName, Table, Waiting, useLoaded, usePages} from "./parts.js";
import {cost, duration, number} from "./words.js";

export function RecoverableView({experiment, project, version}) {
  const keys = [experiment, project, version];
  const {data: lists, error} = useLoaded(() => data.recoverable(experiment, project), keys);
  return html`
    <${Heading}>Recoverable runs<//>
    ${(!lists || error) && html`<${Waiting} error=${error} />`}
    ${lists && html`<${Lists} lists=${lists} experiment=${experiment} />`}
  `;
}

function Lists({lists, experiment}) {
  const cause = (one) => one.by && html`<${RunName} run=${one.by} experiment=${experiment} />`;
  const dependent = (one) => html`<${Dependent} runs=${one.depends_on_it} experiment=${experiment} />`;
  return html`
    <${Resumable} list=${lists.resumable} experiment=${experiment} />
    <${Panel} title="Superseded" count=${lists.superseded.length}>
      <p class="quiet">
        A superseded run stays in the store. It is reused when you go back to its parameters and inputs.
      </p>
      <${Runs} label="Superseded" none="No run was superseded." list=${lists.superseded}
        experiment=${experiment} more="Superseded by" cell=${cause} />
    <//>
    <${Panel} title="Quarantined" count=${lists.quarantined.length}>
      <${Runs} label="Quarantined" none="No run is quarantined." list=${lists.quarantined}
        experiment=${experiment} more="Runs that depend on it" cell=${dependent} />
    <//>
    ${lists.deleted.length > 0 && html`<${Deleted} list=${lists.deleted} experiment=${experiment} />`}
  `;
}

function Dependent({runs, experiment}) {
  if (!runs.length) return "none";
  return html`<ul class="plain">
    ${runs.map(
      (run) => html`<li key=${run.run_id}>
        <${RunName} run=${run} experiment=${experiment} />${run.quality !== null && ` ${number(run.quality)}`}
      </li>`,
    )}
  </ul>`;
}

function Runs({label, none, list, experiment, more, cell}) {
  const [shown, pages] = usePages(list, 25);
  if (!list.length) return html`<p class="quiet">${none}</p>`;
  return html`
    <${Table} label=${label}>
      <thead>
        <tr>
          <th>When</th>
          <th>Phase</th>
          <th>Run</th>
          <th class="number">Quality</th>
          <th class="number">Duration</th>
          <th class="number">Cost</th>
          <th>By</th>
          <th>Why</th>
          <th>${more}</th>
        </tr>
      </thead>
      <tbody>
        ${shown.map(
          (one) => html`<tr key=${one.run.run_id}>
            <td><${Moment} at=${one.when} /></td>
            <th scope="row" class="name">${one.run.phase}</th>
            <td><${RunLink} id=${one.run.run_id} experiment=${experiment} /></td>
            <td class="number">${number(one.run.quality)}</td>
            <td class="number">${duration(one.run.duration_seconds)}</td>
            <td class="number">${cost(one.run.cost_usd)}</td>
            <td class="who">${one.who ?? "–"}</td>
            <td class="text why"><${Long} text=${one.why ?? "–"} /></td>
            <td>${cell(one) ?? "–"}</td>
          </tr>`,
        )}
      </tbody>
    <//>
    ${pages}
  `;
}

function Resumable({list, experiment}) {
  return html`<${Panel} title="Resumable" count=${list.length}>
    ${list.length === 0 && html`<p class="quiet">No interrupted run has a checkpoint to resume from.</p>`}
    ${list.map(
      (one) => html`<article class="resumable" key=${one.run.run_id}>
        <p><${Linked} text=${one.sentence} id=${one.run.run_id} experiment=${experiment} /></p>
        ${
          one.total > 0 &&
          one.step !== null &&
          html`<progress max=${one.total} value=${one.step} aria-label=${`${one.run.phase}: progress`}></progress>`
        }
        ${one.command && html`<${Command} text=${one.command} label=${`Command that resumes ${one.run.phase}`} />`}
      </article>`,
    )}
  <//>`;
}

function Deleted({list, experiment}) {
  const [shown, pages] = usePages(list, 25);
  return html`<${Panel} title="Deleted in MLflow" count=${list.length}>
    <ul class="plain">
      ${shown.map(
        (run) => html`<li class="row" key=${run.run_id}>
          <${RunName} run=${run} experiment=${experiment} />
          <${Moment} at=${run.completed_at ?? run.started_at} />
          ${run.quality !== null && html`<span>quality ${number(run.quality)}</span>`}
          <span>${duration(run.duration_seconds)}</span>
          <span>${cost(run.cost_usd)}</span>
        </li>`,
      )}
    </ul>
    ${pages}
  <//>`;
}
