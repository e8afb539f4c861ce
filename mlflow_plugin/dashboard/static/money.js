// Money and time: spent, saved by reuse, superseded; by hardware; the bottleneck; the baseline across model sizes.
import * as data from "./data.js";
import {html, useState} from "./html.js";
import {Heading, Moment, Panel, RunLink, Table, Waiting, useLoaded, usePages} from "./parts.js";
import {address} from "./route.js";
import {cost, duration, isKnown, number, plural} from "./words.js";

const KINDS = [
  ["spent", "Spent"],
  ["saved", "Saved by reuse"],
  ["superseded", "Superseded"],
];

const amount = (sums, kind) => ({seconds: sums[`${kind}_seconds`], usd: sums[`${kind}_usd`]});
const isNothing = ({seconds, usd}) => !seconds && !usd;

export function MoneyView({experiment, project, version}) {
  // All runs are counted once, and not again at each change: with very many runs this takes the server seconds.
  const [asked, setAsked] = useState(null);
  const all = asked === version;
  const load = async () => ({...(await data.accounts(experiment, project, all ? {all: 1} : {})), all});
  const {data: accounts, error} = useLoaded(load, [experiment, project, version, all]);
  const countAll = data.report ? null : () => setAsked(version);
  return html`
    <${Heading}>Money and time<//>
    ${(!accounts || error) && html`<${Waiting} error=${error} />`}
    ${accounts && html`<${Accounts} ...${{experiment, project, accounts, countAll, counting: all && !accounts.all}} />`}
  `;
}

function Counted({accounts, countAll, counting}) {
  const counted = `${plural(accounts.counted_runs, "run")} counted`;
  if (!accounts.truncated) return html`<p class="quiet">${counted}.</p>`;
  const button = countAll && !accounts.all && html`<button type="button" onClick=${countAll}>Count all</button>`;
  return html`<p class="quiet" role="status">
    ${counted}. Older runs are not in these sums.${" "}
    ${counting ? "Counting all of them ..." : button}
  </p>`;
}

function Accounts({experiment, project, accounts, countAll, counting}) {
  return html`
    <${Counted} ...${{accounts, countAll, counting}} />
    <${Totals} total=${accounts.total} />
    ${accounts.bottleneck && html`<p class="hint">${accounts.bottleneck.sentence}</p>`}
    <${ByPhase} ...${{experiment, project, accounts}} />
    <${Baseline} baseline=${accounts.baseline} experiment=${experiment} />
    <${ByHardware} hardware=${accounts.hardware} />
    <${Estimates} phases=${accounts.phases} experiment=${experiment} />
  `;
}

function Totals({total}) {
  return html`<dl class="totals">
    ${KINDS.map(([kind, title]) => {
      const sum = amount(total, kind);
      return html`<div class=${`panel ${isNothing(sum) ? "" : kind}`}>
        <dt>${title}</dt>
        <dd>
          ${isNothing(sum) ? html`<b>–</b>` : html`<b>${cost(sum.usd)}</b><span>${duration(sum.seconds)}</span>`}
        </dd>
      </div>`;
    })}
  </dl>`;
}

function ByPhase({experiment, project, accounts}) {
  const {phases, total, pipelines = []} = accounts;
  const seconds = phases.flatMap((phase) => KINDS.map(([kind]) => amount(phase, kind).seconds));
  const most = Math.max(...seconds, 1e-9);
  const link = (name) => html`<a class="name" href=${address(experiment, project, "phase", name)}>${name}</a>`;
  // A pipeline of all phases would only repeat the total.
  const parts = pipelines.filter(({runs}) => runs !== total.runs);
  return html`<${Panel} title="By phase">
    <${Table} label="Money and time by phase">
      <thead>
        <tr>
          <th>Phase</th>
          <th class="number">Runs</th>
          <th class="number">Reuses</th>
          ${KINDS.map(([, title]) => html`<th class="number">${title}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${phases.map((one) => html`<${Sums} key=${one.phase} name=${link(one.phase)} sums=${one} most=${most} />`)}
      </tbody>
      <tfoot>
        ${parts.map((one) => html`<${Sums} key=${one.pipeline} name=${`Pipeline ${one.pipeline}`} sums=${one} />`)}
        <${Sums} name="All phases" sums=${total} />
      </tfoot>
    <//>
  <//>`;
}

function Sums({name, sums, most}) {
  return html`<tr>
    <th scope="row">${name}</th>
    <td class="number">${sums.runs}</td>
    <td class="number">${sums.reuses}</td>
    ${KINDS.map(([kind]) => html`<td class="number"><${Sum} ...${amount(sums, kind)} ...${{kind, most}} /></td>`)}
  </tr>`;
}

/** A sum of money and time; with `most` (s) also as a bar. */
function Sum({seconds, usd, kind, most}) {
  if (isNothing({seconds, usd})) return html`<span class="quiet">–</span>`;
  const width = `${(100 * (seconds ?? 0)) / most}%`;
  return html`<span class="sum">
    <span class="figure">${cost(usd)}</span>
    <span class="quiet">${duration(seconds)}</span>
    ${most && html`<svg class=${`share ${kind}`} aria-hidden="true"><rect width=${width} height="100%" rx="1" /></svg>`}
  </span>`;
}

function Baseline({baseline, experiment}) {
  const {columns, rows, totals, sentence} = baseline;
  if (!columns.length) return null;
  return html`<${Panel} title="Baseline">
    ${sentence && html`<p class="quiet">${sentence}</p>`}
    <${Table} label="Baseline across model sizes">
      <thead>
        <tr>
          <th>Phase</th>
          ${columns.map((column) => html`<th>${column.label}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${row.phase}>
            <th scope="row" class="name">${row.phase}</th>
            ${row.cells.map((cell) => html`<td><${Cell} cell=${cell} experiment=${experiment} /></td>`)}
          </tr>`,
        )}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">Total</th>
          ${totals.map((total) => html`<td><${Took} took=${total} /></td>`)}
        </tr>
      </tfoot>
    <//>
  <//>`;
}

function Took({took}) {
  if (!took) return "–";
  const {duration_seconds: seconds, cost_usd: usd} = took;
  return html`<b class="figure">${duration(seconds)}</b> <span class="figure">${cost(usd)}</span>`;
}

function Cell({cell, experiment}) {
  if (!cell) return html`<span class="quiet">–</span>`;
  const metrics = Object.entries(cell.metrics).map(([name, value]) => [name, number(value)]);
  return html`<div class="baseline-cell">
    <div><${Took} took=${cell} /> <${RunLink} id=${cell.run_id} experiment=${experiment} /></div>
    ${metrics.map(([name, value]) => html`<div key=${name}><span class="name">${name}</span> ${value}</div>`)}
    <div class="quiet">${cell.hardware ?? ""}</div>
    <div class="quiet"><${Moment} at=${cell.started_at} /> to <${Moment} at=${cell.completed_at} /></div>
  </div>`;
}

function ByHardware({hardware}) {
  if (!hardware.length) return null;
  return html`<${Panel} title="By hardware">
    <${Table} label="Money and time by hardware">
      <thead>
        <tr>
          <th>Hardware</th>
          <th class="number">Runs</th>
          <th class="number">Time</th>
          <th class="number">Cost</th>
        </tr>
      </thead>
      <tbody>
        ${hardware.map(
          (one) => html`<tr key=${one.hardware}>
            <th scope="row" class="text">${one.hardware}</th>
            <td class="number">${one.runs}</td>
            <td class="number">${duration(one.seconds)}</td>
            <td class="number">${cost(one.usd)}</td>
          </tr>`,
        )}
      </tbody>
    <//>
  <//>`;
}

function Estimates({phases, experiment}) {
  const all = phases.flatMap(({phase, estimates}) => estimates.map((one) => ({...one, phase})));
  all.sort((a, b) => (a.at < b.at ? 1 : -1));
  const [shown, pages] = usePages(all, 20);
  if (!all.length) return null;
  return html`<${Panel} title="Estimated against actual">
    <${Table} label="Estimated against actual">
      <thead>
        <tr>
          <th>Phase</th>
          <th>Run</th>
          <th>Started at</th>
          <th class="number">Estimated</th>
          <th class="number">Actual</th>
          <th class="number">Actual / estimated</th>
        </tr>
      </thead>
      <tbody>
        ${shown.map(
          (one) => html`<tr key=${one.run_id}>
            <th scope="row" class="name">${one.phase}</th>
            <td><${RunLink} id=${one.run_id} experiment=${experiment} /></td>
            <td><${Moment} at=${one.at} /></td>
            <td class="number"><${Sum} seconds=${one.estimated_seconds} usd=${one.estimated_usd} /></td>
            <td class="number"><${Sum} seconds=${one.actual_seconds} usd=${one.actual_usd} /></td>
            <td class="number">${times(one)}</td>
          </tr>`,
        )}
      </tbody>
    <//>
    ${pages}
  <//>`;
}

function times({estimated_seconds: estimated, actual_seconds: actual}) {
  return estimated > 0 && isKnown(actual) ? `${(actual / estimated).toFixed(2)} x` : "–";
}
