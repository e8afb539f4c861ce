// Lost and found: what was thrown away and why, what must not be used and what hangs on it, what can go on.
import * as data from "./data.js";
import {html} from "./html.js";
import {Command, Heading, Linked, Long, Moment, Panel, RunLink, RunName, Table, Waiting, useLoaded, usePages} from "./parts.js";
import {cost, duration, number} from "./words.js";

export function LossesView({experiment, project, version}) {
  const keys = [experiment, project, version];
  const {data: found, error} = useLoaded(() => data.losses(experiment, project), keys);
  return html`
    <${Heading}>Lost and found<//>
    ${(!found || error) && html`<${Waiting} error=${error} />`}
    ${found && html`<${Found} found=${found} experiment=${experiment} />`}
  `;
}

function Found({found, experiment}) {
  const cause = (one) => one.by && html`<${RunName} run=${one.by} experiment=${experiment} />`;
  const hanging = (one) => html`<${Hanging} runs=${one.hangs_on_it} experiment=${experiment} />`;
  return html`
    <${Resumable} list=${found.resumable} experiment=${experiment} />
    <${Panel} title="Thrown away or invalidated" count=${found.thrown_away.length}>
      <${Lost} label="Thrown away or invalidated" none="Nothing was thrown away." list=${found.thrown_away}
        experiment=${experiment} more="Because of" cell=${cause} />
    <//>
    <${Panel} title="Quarantined" count=${found.quarantined.length}>
      <${Lost} label="Quarantined" none="Nothing is quarantined." list=${found.quarantined}
        experiment=${experiment} more="What hangs on it" cell=${hanging} />
    <//>
    ${found.deleted.length > 0 && html`<${Deleted} list=${found.deleted} experiment=${experiment} />`}
  `;
}

function Hanging({runs, experiment}) {
  if (!runs.length) return "nothing";
  return html`<ul class="plain">
    ${runs.map(
      (run) => html`<li key=${run.run_id}>
        <${RunName} run=${run} experiment=${experiment} />${run.quality !== null && ` ${number(run.quality)}`}
      </li>`,
    )}
  </ul>`;
}

function Lost({label, none, list, experiment, more, cell}) {
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
  return html`<${Panel} title="Can go on" count=${list.length}>
    ${list.length === 0 && html`<p class="quiet">No interrupted run has a checkpoint to go on from.</p>`}
    ${list.map(
      (one) => html`<article class="resumable" key=${one.run.run_id}>
        <p><${Linked} text=${one.sentence} id=${one.run.run_id} experiment=${experiment} /></p>
        ${
          one.total > 0 &&
          one.step !== null &&
          html`<progress max=${one.total} value=${one.step} aria-label=${`${one.run.phase}: progress`}></progress>`
        }
        ${one.command && html`<${Command} text=${one.command} label=${`Command that lets ${one.run.phase} go on`} />`}
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
