// Lost and found: what was thrown away and why, what must not be used and what hangs on it, what can go on.
import * as data from "./data.js";
import {html} from "./html.js";
import {Command, Heading, Moment, RunLink, Table, Waiting, useLoaded, usePages} from "./parts.js";
import {cost, duration, number} from "./words.js";

export function LossesView({experiment, project, version}) {
  const {data: found, error} = useLoaded(() => data.losses(experiment, project), [experiment, project, version]);
  return html`
    <${Heading}>Lost and found<//>
    ${(!found || error) && html`<${Waiting} error=${error} />`}
    ${found && html`
      <${Resumable} list=${found.resumable} experiment=${experiment} />
      <${Section} title="Thrown away or invalidated" none="Nothing was thrown away." list=${found.thrown_away} experiment=${experiment} more="Taken over by" cell=${(one) => one.by && html`<span class="name">${one.by.phase}</span> <${RunLink} id=${one.by.run_id} experiment=${experiment} />`} />
      <${Section} title="Quarantined" none="Nothing is quarantined." list=${found.quarantined} experiment=${experiment} more="What hangs on it" cell=${(one) => hanging(one, experiment)} />
      <${Deleted} list=${found.deleted ?? []} experiment=${experiment} />`}
  `;
}

function hanging(one, experiment) {
  if (!one.hangs_on_it?.length) return "nothing";
  return html`<ul class="plain">${one.hangs_on_it.map((run) => html`<li key=${run.run_id}><span class="name">${run.phase}</span> <${RunLink} id=${run.run_id} experiment=${experiment} />${run.quality !== null && html` <span class="figure">${number(run.quality)}</span>`}</li>`)}</ul>`;
}

function Section({title, none, list, experiment, more, cell}) {
  const [shown, pages] = usePages(list, 25);
  const id = title.toLowerCase().replaceAll(" ", "-");
  return html`<section class="panel" aria-labelledby=${id}>
    <h2 id=${id}>${title} ${list.length > 0 && html`<span class="count">${list.length}</span>`}</h2>
    ${list.length === 0
      ? html`<p class="quiet">${none}</p>`
      : html`<${Table} label=${title}>
          <thead><tr><th>When</th><th>Phase</th><th>Run</th><th class="number">Quality</th><th class="number">Duration</th><th class="number">Cost</th><th>By</th><th>Why</th><th>${more}</th></tr></thead>
          <tbody>${shown.map((one) => html`<tr key=${one.run.run_id}>
            <td><${Moment} at=${one.when} /></td><th scope="row" class="name">${one.run.phase}</th><td><${RunLink} id=${one.run.run_id} experiment=${experiment} /></td>
            <td class="number">${number(one.run.quality)}</td><td class="number">${duration(one.run.duration_seconds)}</td><td class="number">${cost(one.run.cost_usd)}</td>
            <td class="text">${one.who ?? "–"}</td><td class="text why">${one.why ?? "–"}</td><td>${cell(one) ?? "–"}</td></tr>`)}</tbody>
        <//>`}
    ${pages}
  </section>`;
}

function Resumable({list, experiment}) {
  return html`<section class="panel" aria-labelledby="resumable">
    <h2 id="resumable">Can go on ${list.length > 0 && html`<span class="count">${list.length}</span>`}</h2>
    ${list.length === 0 && html`<p class="quiet">No interrupted run has a checkpoint to go on from.</p>`}
    ${list.map((one) => html`<article class="resumable" key=${one.run.run_id}>
      <p><b class="name">${one.run.phase}</b> <${RunLink} id=${one.run.run_id} experiment=${experiment} /> ${one.sentence}</p>
      ${one.total > 0 && one.step !== null && html`<progress max=${one.total} value=${one.step} aria-label=${`${one.run.phase}: saved progress`}></progress>`}
      <p class="quiet">${one.checkpoint ?? ""}${one.step !== null && one.step !== undefined ? `, step ${one.step}${one.total ? ` of ${one.total}` : ""}` : ""}</p>
      ${one.command && html`<${Command} text=${one.command} label=${`Command that lets ${one.run.phase} go on`} />`}
    </article>`)}
  </section>`;
}

function Deleted({list, experiment}) {
  const [shown, pages] = usePages(list, 25);
  if (!list.length) return null;
  return html`<section class="panel" aria-labelledby="deleted"><h2 id="deleted">Deleted in MLflow <span class="count">${list.length}</span></h2>
    <ul class="plain">${shown.map((run) => html`<li key=${run.run_id}><span class="name">${run.phase}</span> <${RunLink} id=${run.run_id} experiment=${experiment} /> <${Moment} at=${run.completed_at ?? run.started_at} /> ${run.quality !== null && html`<span class="figure">quality ${number(run.quality)}</span>`} <span>${duration(run.duration_seconds)}</span> <span>${cost(run.cost_usd)}</span></li>`)}</ul>
    ${pages}
  </section>`;
}
