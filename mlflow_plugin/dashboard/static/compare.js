// Two runs of a phase: their differences, and the effect on quality, time and money.
import * as data from "./data.js";
import {CodeChanges} from "./diff.js";
import {html} from "./html.js";
import {Heading, Moment, Panel, RunLink, Table, Waiting, useLoaded} from "./parts.js";
import {address, compareInMlflow} from "./route.js";
import {State, runState} from "./states.js";
import {cost, duration, isKnown, number} from "./words.js";

export function CompareView({experiment, project, left, right}) {
  const keys = [experiment, project, left, right];
  const {data: found, error} = useLoaded(() => data.compare(...keys), keys);
  const phase = found?.left.phase;
  const back = phase && html`<a class="name" href=${address(experiment, project, "phase", phase)}>${phase}</a>`;
  return html`
    <p class="trail"><a href=${address(experiment, project)}>Pipeline</a>${back && html` / ${back}`}</p>
    <${Heading}>Two runs${phase ? html` of <span class="name">${phase}</span>` : ""}<//>
    ${(!found || error) && html`<${Waiting} error=${error} />`}
    ${found && html`<${Comparison} ...${{experiment, project, left, right, found}} />`}
  `;
}

function Comparison({experiment, project, left, right, found}) {
  return html`
    <p class="lead">${found.sentence}</p>
    <ul class="actions">
      <li><a href=${compareInMlflow(experiment, [left, right])}>Compare them in MLflow</a></li>
      <li><a href=${address(experiment, project, "compare", right, left)}>Swap sides</a></li>
    </ul>
    <div class="sides">
      <${Side} name="Left" run=${found.left} experiment=${experiment} />
      <${Side} name="Right" run=${found.right} experiment=${experiment} />
    </div>
    <${Effects} effects=${found.effects} />
    <${Parameters} parameters=${found.parameters} />
    <${CodeChanges} code=${found.code} />
    <${Inputs} inputs=${found.inputs} experiment=${experiment} />
    <${Environment} environment=${found.environment} hardware=${found.hardware} />
  `;
}

function Side({name, run, experiment}) {
  const who = run.user ? html` by <b>${run.user}</b>` : "";
  return html`<div class="panel side">
    <h2>${name} <${RunLink} id=${run.run_id} experiment=${experiment} /> <${State} state=${runState(run)} /></h2>
    <p class="quiet">
      ${run.completed_at ? "completed " : "started "}<${Moment} at=${run.completed_at ?? run.started_at} />${who}
    </p>
  </div>`;
}

const SHOWN = {s: duration, USD: cost};
const NAMES = {"phase.duration_seconds": "duration", "phase.cost_usd": "cost"};

const shown = (value, unit) => (SHOWN[unit] ?? number)(value);

function change({difference, ratio, unit}) {
  if (!isKnown(difference)) return "–";
  if (difference === 0) return "same";
  const times = Number.isFinite(ratio) ? ` (${Number(ratio.toPrecision(3))} x)` : "";
  return `${difference > 0 ? "+" : "−"}${shown(Math.abs(difference), unit)}${times}`;
}

function Effects({effects}) {
  return html`<${Panel} title="Effects">
    <${Table} label="Effects">
      <thead>
        <tr>
          <th>Metric</th>
          <th class="number">Left</th>
          <th class="number">Right</th>
          <th class="number">Change</th>
        </tr>
      </thead>
      <tbody>
        ${effects.map(
          (one) => html`<tr key=${one.name}>
            <th scope="row" class="name">${NAMES[one.name] ?? one.name}</th>
            <${Measured} value=${shown(one.left, one.unit)} better=${one.better === "left"} />
            <${Measured} value=${shown(one.right, one.unit)} better=${one.better === "right"} />
            <td class="number">${change(one)}</td>
          </tr>`,
        )}
      </tbody>
    <//>
  <//>`;
}

function Measured({value, better}) {
  if (!better) return html`<td class="number">${value}</td>`;
  return html`<td class="number won"><span class="better">better</span> ${value}</td>`;
}

function Parameters({parameters}) {
  const changed = parameters.filter((one) => !one.same);
  const same = parameters.filter((one) => one.same);
  const note = (one) => (one.changes_result ? "" : "does not change the result");
  return html`<${Panel} title="Parameters">
    ${
      changed.length
        ? html`<${Table} label="Parameters that differ"><${Values} list=${changed} note=${note} /><//>`
        : html`<p class="quiet">All parameters are the same.</p>`
    }
    ${same.length > 0 && html`<${Same} list=${same} />`}
  <//>`;
}

function Same({list}) {
  return html`<details>
    <summary>${list.length} the same</summary>
    <dl class="pairs">
      ${list.map(
        (one) => html`<div key=${one.name}>
          <dt class="name">${one.name}</dt>
          <dd>${one.left ?? "–"}</dd>
        </div>`,
      )}
    </dl>
  </details>`;
}

function Values({list, note = () => ""}) {
  const side = (value) => html`<td class="text">${value ?? html`<span class="quiet">not set</span>`}</td>`;
  return html`
    <thead>
      <tr>
        <th>Name</th>
        <th>Left</th>
        <th>Right</th>
        <th><span class="unseen">Note</span></th>
      </tr>
    </thead>
    <tbody>
      ${list.map(
        (one) => html`<tr key=${one.name}>
          <th scope="row" class="name">${one.name}</th>
          ${side(one.left)}${side(one.right)}
          <td class="quiet">${note(one)}</td>
        </tr>`,
      )}
    </tbody>
  `;
}

const SAME_BYTES = {true: ["good", "same bytes"], false: ["warn", "other bytes"]};

function Inputs({inputs, experiment}) {
  if (!inputs.length) return null;
  const side = (used) =>
    used
      ? html`<td>
          <${RunLink} id=${used.run_id} experiment=${experiment} /> of <${Moment} at=${used.completed_at} />
        </td>`
      : html`<td class="quiet">none</td>`;
  return html`<${Panel} title="Inputs">
    <${Table} label="Inputs">
      <thead>
        <tr>
          <th>From</th>
          <th>Left</th>
          <th>Right</th>
          <th>Output</th>
        </tr>
      </thead>
      <tbody>
        ${inputs.map((one) => {
          const [tone, word] = SAME_BYTES[one.same_bytes] ?? ["none", "not known"];
          return html`<tr key=${one.need}>
            <th scope="row" class="name">${one.need}</th>
            ${side(one.left)}${side(one.right)}
            <td class=${tone}>${word}</td>
          </tr>`;
        })}
      </tbody>
    <//>
  <//>`;
}

function Environment({environment, hardware}) {
  const {left, right} = {left: hardware.left ?? "not recorded", right: hardware.right ?? "not recorded"};
  return html`<${Panel} title="Environment and hardware">
    ${!environment.recorded && html`<p class="quiet">The environment is not recorded for both runs.</p>`}
    ${environment.recorded && !environment.changes.length && html`<p>Packages and settings are the same.</p>`}
    ${
      environment.changes.length > 0 &&
      html`<${Table} label="Environment"><${Values} list=${environment.changes} /><//>`
    }
    <dl class="pairs">
      <div>
        <dt>Hardware</dt>
        <dd>${hardware.same ? `the same: ${left}` : html`${left} <span class="quiet">→</span> ${right}`}</dd>
      </div>
    </dl>
  <//>`;
}
