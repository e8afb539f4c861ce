// Running runs: progress, rate, remaining time and heartbeat.
import {html} from "./html.js";
import {Panel, RunName, useNow} from "./parts.js";
import {State} from "./states.js";
import {approximately, duration, isKnown, number, percent} from "./words.js";

const SILENT_SECONDS = 60;

/** True for a run with progress to show: one that asks or waits has none. */
export const computes = (live) => Boolean(live) && !["asking", "waiting"].includes(live.state);

/** Step and progress of a run, small enough for a card of the graph. */
export function Step({live}) {
  const known = live.total > 0 && live.step !== null;
  const ended = live.state === "interrupted";
  const place = live.step === null ? "no step yet" : `step ${live.step}${known ? ` of ${live.total}` : ""}`;
  const at = ended ? `ended at ${place}` : place;
  const done = known ? Math.min(live.step, live.total) : 0;
  return html`<span class="step">
    ${known && html`<progress max=${live.total} value=${done} aria-label=${`${live.phase}: progress`}></progress>`}
    <span class="facts">
      <span>${at}</span>
      ${!ended && live.eta_seconds !== null && html`<span>${approximately(live.eta_seconds)} left</span>`}
    </span>
  </span>`;
}

/** `heard` is the time at which the ages were read (ms, this machine's clock); they are counted up from then on. */
export function Running({running, heard, experiment}) {
  const now = useNow(1000, running.length > 0);
  if (!running.length) return null;
  const since = Math.max(0, (now - heard) / 1000);
  return html`<${Panel} title="Running now">
    <ul class="running">
      ${running.map((live) => html`<${One} key=${live.run_id} ...${{live, since, experiment}} />`)}
    </ul>
  <//>`;
}

function One({live, since, experiment}) {
  const age = live.heartbeat_age_seconds === null ? null : live.heartbeat_age_seconds + since;
  const heartbeat = age === null ? "none yet" : `${duration(age)} ago`;
  const left = live.eta_seconds === null ? "not known" : approximately(live.eta_seconds);
  return html`<li>
    <div class="row"><${RunName} run=${live} experiment=${experiment} /> <${State} state=${live.state} /></div>
    ${computes(live) && html`<${Step} live=${live} />`}
    <dl class="figures">
      ${computes(live) && html`<${Figure} name="Rate" value=${rate(live)} />`}
      ${computes(live) && html`<${Figure} name="Left" value=${left} />`}
      <${Figure} name="Heartbeat" value=${heartbeat} tone=${age > SILENT_SECONDS ? "warn" : ""} />
      <${Figure} name="Process" value=${load(live.process_percent, "of a core")} />
      <${Figure} name="Machine" value=${load(live.cpu_percent, "CPU", live.memory_percent)} />
      <${Figure} name="GPU" value=${load(live.gpu_percent, "", live.gpu_memory_percent)} />
      <${Figure} name="Host" value=${live.host ?? "–"} />
    </dl>
    ${live.sentence && html`<p class="quiet">${live.sentence}</p>`}
  </li>`;
}

function Figure({name, value, tone = ""}) {
  return html`<div><dt>${name}</dt><dd class=${tone}>${value}</dd></div>`;
}

function load(value, of, memory) {
  if (!isKnown(value)) return "–";
  return `${percent(value)} ${of}`.trim() + (isKnown(memory) ? `, memory ${percent(memory)}` : "");
}

function rate(live) {
  if (live.steps_per_second >= 1) return `${number(live.steps_per_second)} steps/s`;
  if (isKnown(live.seconds_per_step)) return `${number(live.seconds_per_step)} s/step`;
  return "not known";
}
