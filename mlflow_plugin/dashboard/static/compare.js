// Two runs of a phase: what differs, and what that did to quality, time and money.
import * as data from "./data.js";
import {CodeChanges} from "./diff.js";
import {html} from "./html.js";
import {Heading, Moment, RunLink, Table, Waiting, useLoaded} from "./parts.js";
import {address, compareInMlflow} from "./route.js";
import {State, runState} from "./states.js";
import {cost, duration, number} from "./words.js";

export function CompareView({experiment, project, left, right}) {
  const {data: found, error} = useLoaded(() => data.compare(experiment, project, left, right), [experiment, project, left, right]);
  const phase = found?.left.phase;
  return html`
    <p class="trail"><a href=${address(experiment, project)}>Pipeline</a>${phase && html` / <a class="name" href=${address(experiment, project, "phase", phase)}>${phase}</a>`}</p>
    <${Heading}>Two runs${phase ? html` of <span class="name">${phase}</span>` : ""}<//>
    ${(!found || error) && html`<${Waiting} error=${error} />`}
    ${found && html`
      <p class="lead">${found.sentence}</p>
      <p><a href=${compareInMlflow(experiment, [left, right])}>Compare them in MLflow</a> · <a href=${address(experiment, project, "compare", right, left)}>Swap sides</a></p>
      <div class="sides"><${Side} name="Left" run=${found.left} experiment=${experiment} /><${Side} name="Right" run=${found.right} experiment=${experiment} /></div>
      <${Effects} effects=${found.effects} />
      <${Parameters} parameters=${found.parameters} />
      <${CodeChanges} code=${found.code} />
      <${Inputs} inputs=${found.inputs} experiment=${experiment} />
      <${Environment} environment=${found.environment} hardware=${found.hardware} />`}
  `;
}

function Side({name, run, experiment}) {
  return html`<div class="panel side"><h2>${name} <${RunLink} id=${run.run_id} experiment=${experiment} /> <${State} state=${runState(run)} /></h2>
    <p class="quiet">${run.completed_at ? "completed" : "started"} <${Moment} at=${run.completed_at ?? run.started_at} />${run.user ? ` by ${run.user}` : ""}</p></div>`;
}

const SHOWN = {seconds: duration, s: duration, usd: cost, "$": cost};

function shown(value, unit) {
  return (SHOWN[(unit ?? "").toLowerCase()] ?? number)(value);
}

function change({difference, ratio, unit}) {
  if (difference === null || difference === undefined) return "–";
  if (difference === 0) return "same";
  const sign = difference > 0 ? "+" : "−";
  const times = Number.isFinite(ratio) ? ` (${number(ratio)} x)` : "";
  return `${sign}${shown(Math.abs(difference), unit)}${times}`;
}

function Effects({effects}) {
  const mark = (side, better) => better === side && html` <span class="better">better</span>`;
  return html`<section class="panel" aria-labelledby="effects"><h2 id="effects">What it did</h2>
    <${Table} label="Effects"><thead><tr><th>Metric</th><th class="number">Left</th><th class="number">Right</th><th class="number">Change</th></tr></thead>
      <tbody>${effects.map((one) => html`<tr key=${one.name}><th scope="row" class="name">${one.name}</th>
        <td class=${`number ${one.better === "left" ? "won" : ""}`}>${mark("left", one.better)} ${shown(one.left, one.unit)}</td>
        <td class=${`number ${one.better === "right" ? "won" : ""}`}>${mark("right", one.better)} ${shown(one.right, one.unit)}</td><td class="number">${change(one)}</td></tr>`)}</tbody><//>
  </section>`;
}

function Parameters({parameters}) {
  const changed = parameters.filter((one) => !one.same);
  const same = parameters.filter((one) => one.same);
  return html`<section class="panel" aria-labelledby="parameters"><h2 id="parameters">Parameters</h2>
    ${changed.length === 0 && html`<p class="quiet">All the same.</p>`}
    ${changed.length > 0 && html`<${Table} label="Parameters that differ"><${Values} list=${changed} note=${(one) => (one.changes_result ? "" : "does not change the result")} /><//>`}
    ${same.length > 0 && html`<details><summary>${same.length} the same</summary><dl class="pairs">${same.map((one) => html`<div key=${one.name}><dt class="name">${one.name}</dt><dd>${one.left ?? "–"}</dd></div>`)}</dl></details>`}
  </section>`;
}

function Values({list, note = () => ""}) {
  return html`<thead><tr><th>Name</th><th>Left</th><th>Right</th><th><span class="unseen">Note</span></th></tr></thead>
    <tbody>${list.map((one) => html`<tr key=${one.name}><th scope="row" class="name">${one.name}</th><td class="text">${one.left ?? html`<span class="quiet">not set</span>`}</td><td class="text">${one.right ?? html`<span class="quiet">not set</span>`}</td><td class="quiet">${note(one)}</td></tr>`)}</tbody>`;
}

function Inputs({inputs, experiment}) {
  if (!inputs.length) return null;
  const side = (used) => (used ? html`<${RunLink} id=${used.run_id} experiment=${experiment} /> of <${Moment} at=${used.completed_at} />` : html`<span class="quiet">none</span>`);
  const verdict = {true: ["good", "same bytes"], false: ["warn", "other bytes"]};
  return html`<section class="panel" aria-labelledby="inputs"><h2 id="inputs">Inputs</h2>
    <${Table} label="Inputs"><thead><tr><th>From</th><th>Left</th><th>Right</th><th>Output</th></tr></thead>
      <tbody>${inputs.map((one) => {
        const [tone, word] = verdict[one.same_bytes] ?? ["none", "not known"];
        return html`<tr key=${one.need}><th scope="row" class="name">${one.need}</th><td>${side(one.left)}</td><td>${side(one.right)}</td><td class=${tone}>${word}</td></tr>`;
      })}</tbody><//>
  </section>`;
}

function Environment({environment, hardware}) {
  return html`<section class="panel" aria-labelledby="environment"><h2 id="environment">Environment and hardware</h2>
    ${!environment.recorded && html`<p class="quiet">Not both runs recorded their environment.</p>`}
    ${environment.recorded && !environment.changes.length && html`<p>The same packages.</p>`}
    ${environment.changes.length > 0 && html`<${Table} label="Environment"><${Values} list=${environment.changes} /><//>`}
    <dl class="pairs"><div><dt>Hardware</dt><dd>${hardware.same ? html`the same: ${hardware.left ?? "not recorded"}` : html`${hardware.left ?? "not recorded"} <span class="quiet">→</span> ${hardware.right ?? "not recorded"}`}</dd></div></dl>
  </section>`;
}
