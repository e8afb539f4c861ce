// Money and time: spent, saved by reuse, thrown away; by hardware; the bottleneck; the baseline across model sizes.
import * as data from "./data.js";
import {html} from "./html.js";
import {Heading, Moment, RunLink, Table, Waiting, useLoaded, usePages} from "./parts.js";
import {address} from "./route.js";
import {cost, duration, number, plural} from "./words.js";

const KINDS = [["spent", "Spent"], ["saved", "Saved by reuse"], ["thrown_away", "Thrown away"]];

export function MoneyView({experiment, project, version}) {
  const {data: accounts, error} = useLoaded(() => data.accounts(experiment, project), [experiment, project, version]);
  return html`
    <${Heading}>Money and time<//>
    ${(!accounts || error) && html`<${Waiting} error=${error} />`}
    ${accounts && html`
      <${Totals} accounts=${accounts} />
      ${accounts.bottleneck && html`<p class="hint">${accounts.bottleneck.sentence}</p>`}
      <${ByPhase} ...${{experiment, project, accounts}} />
      <${Baseline} baseline=${accounts.baseline} experiment=${experiment} />
      <${ByHardware} hardware=${accounts.hardware} />
      <${Estimates} phases=${accounts.phases} experiment=${experiment} />
      <p class="quiet">${plural(accounts.counted_runs, "run")} counted${accounts.truncated ? "; there are more, older ones are not in these sums" : ""}.</p>`}
  `;
}

function Totals({accounts}) {
  const {total} = accounts;
  return html`<dl class="totals">${KINDS.map(
    ([kind, title]) => html`<div class=${`panel ${kind}`}><dt>${title}</dt><dd><b>${cost(total[`${kind}_usd`])}</b><span>${duration(total[`${kind}_seconds`])}</span></dd></div>`,
  )}</dl>`;
}

function ByPhase({experiment, project, accounts}) {
  const {phases, total} = accounts;
  const most = Math.max(...phases.flatMap((phase) => KINDS.map(([kind]) => phase[`${kind}_seconds`] ?? 0)), 1e-9);
  return html`<section class="panel" aria-labelledby="by-phase">
    <h2 id="by-phase">By phase</h2>
    <${Table} label="Money and time by phase">
      <thead><tr><th>Phase</th><th class="number">Runs</th><th class="number">Reuses</th>${KINDS.map(([, title]) => html`<th class="number">${title}</th>`)}</tr></thead>
      <tbody>${phases.map(
        (phase) => html`<tr key=${phase.phase}>
          <th scope="row"><a class="name" href=${address(experiment, project, "phase", phase.phase)}>${phase.phase}</a></th>
          <td class="number">${phase.runs}</td><td class="number">${phase.reuses}</td>
          ${KINDS.map(([kind]) => html`<td class="number"><${Sum} seconds=${phase[`${kind}_seconds`]} usd=${phase[`${kind}_usd`]} kind=${kind} most=${most} /></td>`)}
        </tr>`,
      )}</tbody>
      <tfoot><tr><th scope="row">Whole pipeline</th><td class="number">${total.runs}</td><td class="number">${total.reuses}</td>
        ${KINDS.map(([kind]) => html`<td class="number"><${Sum} seconds=${total[`${kind}_seconds`]} usd=${total[`${kind}_usd`]} /></td>`)}</tr></tfoot>
    <//>
  </section>`;
}

function Sum({seconds, usd, kind, most}) {
  return html`<span class="sum"><span class="figure">${cost(usd)}</span> <span class="quiet">${duration(seconds)}</span>
    ${kind && html`<svg class=${`share ${kind}`} aria-hidden="true"><rect width=${`${(100 * (seconds ?? 0)) / most}%`} height="100%" rx="1" /></svg>`}</span>`;
}

function Baseline({baseline, experiment}) {
  const {columns, rows, totals, sentence} = baseline;
  if (!columns.length) return null;
  return html`<section class="panel" aria-labelledby="baseline">
    <h2 id="baseline">Baseline</h2>
    ${sentence && html`<p class="quiet">${sentence}</p>`}
    <${Table} label="Baseline across model sizes">
      <thead><tr><th>Phase</th>${columns.map((column) => html`<th>${column.label}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${row.phase}><th scope="row" class="name">${row.phase}</th>${row.cells.map((cell) => html`<td><${Cell} cell=${cell} experiment=${experiment} /></td>`)}</tr>`)}</tbody>
      <tfoot><tr><th scope="row">Total</th>${totals.map((total) => html`<td>${total ? html`<b class="figure">${duration(total.duration_seconds ?? total.seconds)}</b> <span class="figure">${cost(total.cost_usd ?? total.usd)}</span>` : "–"}</td>`)}</tr></tfoot>
    <//>
  </section>`;
}

function Cell({cell, experiment}) {
  if (!cell) return html`<span class="quiet">–</span>`;
  const metrics = Object.entries(cell.metrics ?? {});
  return html`<div class="baseline-cell">
    <div><b class="figure">${duration(cell.duration_seconds)}</b> <span class="figure">${cost(cell.cost_usd)}</span> <${RunLink} id=${cell.run_id} experiment=${experiment} /></div>
    ${metrics.length ? metrics.map(([name, value]) => html`<div key=${name}><span class="name">${name}</span> <span class="figure">${number(value)}</span></div>`) : cell.quality !== null && html`<div>quality <span class="figure">${number(cell.quality)}</span></div>`}
    <div class="quiet">${cell.hardware ?? ""}</div>
    <div class="quiet"><${Moment} at=${cell.started_at} /> to <${Moment} at=${cell.completed_at} /></div>
  </div>`;
}

function ByHardware({hardware}) {
  if (!hardware.length) return null;
  return html`<section class="panel" aria-labelledby="by-hardware">
    <h2 id="by-hardware">By hardware</h2>
    <${Table} label="Money and time by hardware">
      <thead><tr><th>Hardware</th><th class="number">Runs</th><th class="number">Time</th><th class="number">Cost</th></tr></thead>
      <tbody>${hardware.map((one) => html`<tr key=${one.hardware}><th scope="row" class="text">${one.hardware ?? "not recorded"}</th><td class="number">${one.runs}</td><td class="number">${duration(one.seconds)}</td><td class="number">${cost(one.usd)}</td></tr>`)}</tbody>
    <//>
  </section>`;
}

function Estimates({phases, experiment}) {
  const all = phases.flatMap((phase) => phase.estimates.map((one) => ({...one, phase: phase.phase}))).sort((a, b) => (a.at < b.at ? 1 : -1));
  const [shown, pages] = usePages(all, 20);
  if (!all.length) return null;
  return html`<section class="panel" aria-labelledby="estimates">
    <h2 id="estimates">Estimated against actual</h2>
    <${Table} label="Estimated against actual">
      <thead><tr><th>Phase</th><th>Run</th><th>Completed at</th><th class="number">Estimated</th><th class="number">Actual</th><th class="number">Actual / estimated</th></tr></thead>
      <tbody>${shown.map(
        (one) => html`<tr key=${one.run_id}><th scope="row" class="name">${one.phase}</th><td><${RunLink} id=${one.run_id} experiment=${experiment} /></td><td><${Moment} at=${one.at} /></td>
          <td class="number"><${Sum} seconds=${one.estimated_seconds} usd=${one.estimated_usd} /></td><td class="number"><${Sum} seconds=${one.actual_seconds} usd=${one.actual_usd} /></td>
          <td class="number">${one.estimated_seconds > 0 && one.actual_seconds !== null ? `${(one.actual_seconds / one.estimated_seconds).toFixed(2)} x` : "–"}</td></tr>`,
      )}</tbody>
    <//>
    ${pages}
  </section>`;
}
