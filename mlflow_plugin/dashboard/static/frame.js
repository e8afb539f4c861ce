// The frame of every view: navigation, the state of the connection, and announcements for screen readers.
import * as data from "./data.js";
import {html, useEffect, useRef, useState} from "./html.js";
import {Moment, useNow} from "./parts.js";
import {address, experimentInMlflow} from "./route.js";
import {plural} from "./words.js";

const TABS = {
  pipeline: "Pipeline",
  questions: "Questions",
  money: "Money and time",
  recoverable: "Recoverable runs",
};
const PARTS = {phase: "pipeline", compare: "pipeline"};

/** The tab that a view belongs to. */
const tabOf = (view) => PARTS[view] ?? view;

/** The title of the browser's tab: the number of open questions and the place. */
function titleOf(route, pipeline, questions) {
  if (!route) return "Phases";
  const open = questions.length ? `(${questions.length}) ` : "";
  const view = route.phase ?? (route.view === "compare" ? "two runs" : TABS[tabOf(route.view)]);
  return `${open}${[pipeline?.experiment.name, route.project, view, "Phases"].filter(Boolean).join(" · ")}`;
}

export function Frame({route, pipeline, questions = [], problem, children}) {
  const main = useRef(null);
  const focus = () => (main.current.querySelector("h1") ?? main.current).focus();
  const place = route && JSON.stringify([route.view, route.phase, route.left, route.right]);
  const first = useRef(place);
  useEffect(() => {
    if (place === first.current) return;
    first.current = null;
    focus();
    scrollTo(0, 0);
  }, [place]);
  const title = titleOf(route, pipeline, questions);
  useEffect(() => {
    document.title = title;
  }, [title]);
  const skip = (event) => {
    event.preventDefault();
    focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Top} ...${{route, pipeline, questions}} />
    ${data.report && html`<${ReportNote} report=${data.report} />`}
    ${problem && pipeline && html`<${Away} problem=${problem} />`}
    <main id="main" ref=${main} tabindex="-1">${children}</main>
    <footer class="quiet">${pipeline && html`As of <${Moment} at=${pipeline.at} />. `}All times are UTC.</footer>
    <${Changes} pipeline=${pipeline} questions=${questions} />
  `;
}

function ReportNote({report}) {
  return html`<p class="notice">
    A report of <span class="name">${report.project}</span>, made <${Moment} at=${report.at} /> UTC.${" "}
    It does not change and takes no answers.
  </p>`;
}

function Away({problem}) {
  const now = useNow(1000);
  const left = Math.max(0, Math.round((problem.next - now) / 1000));
  return html`<p class="notice bad">
    <span role="alert">${problem.message} The data shown may be out of date.</span>${" "}
    <span>The next try is in ${left} s.</span>
  </p>`;
}

/** Announces changes to screen readers without moving the focus. */
function Changes({pipeline, questions}) {
  const before = useRef(null);
  const [announcement, setAnnouncement] = useState("");
  useEffect(() => {
    if (!pipeline) return;
    const now = new Map(pipeline.phases.map(({phase, state}) => [phase, state]));
    const changes = before.current ? [...now].filter(([phase, state]) => before.current.get(phase) !== state) : [];
    before.current = now;
    if (changes.length) setAnnouncement(changes.map(([phase, state]) => `${phase} is now ${state}`).join("; "));
  }, [pipeline]);
  const asked = questions.length ? `${plural(questions.length, "question")} open` : "";
  return html`
    <div class="unseen" role="status">${announcement}</div>
    <div class="unseen" role="status">${asked}</div>
  `;
}

function Top({route, pipeline, questions}) {
  const {experiment, project} = route ?? {};
  return html`<header>
    <div class="bar">
      <a class="brand" href=${data.report ? "#/" : "#"} title=${data.report ? null : "All experiments"}>Phases</a>
      ${pipeline && html`<${Where} ...${{experiment, project, pipeline}} />`}
      <span class="grow"></span>
      ${pipeline?.user && html`<span class="quiet name">${pipeline.user}</span>`}
      ${!data.report && html`<a href=${experiment ? experimentInMlflow(experiment) : "./#/"}>MLflow</a>`}
      <${Theme} />
    </div>
    ${project && html`<${Tabs} ...${{experiment, project, questions}} active=${tabOf(route.view)} />`}
  </header>`;
}

function Where({experiment, project, pipeline}) {
  return html`<span class="where">
    <span class="name experiment" title=${pipeline.experiment.name}>${pipeline.experiment.name}</span>
    <span class="quiet"> / </span>
    <${Projects} ...${{experiment, project, pipeline}} />
  </span>`;
}

function Projects({experiment, project, pipeline}) {
  const names = pipeline.projects ?? [project];
  if (names.length < 2) return html`<b class="name">${project}</b>`;
  const go = (event) => (location.hash = address(experiment, event.target.value));
  return html`<select aria-label="Project" value=${project} onChange=${go}>
    ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
  </select>`;
}

function Tabs({experiment, project, questions, active}) {
  const count = questions.length > 0 && html` <span class="count ask">${questions.length}</span>`;
  return html`<nav aria-label="Views">
    <ul>
      ${Object.entries(TABS).map(
        ([view, title]) => html`<li key=${view}>
          <a href=${address(experiment, project, view)} aria-current=${view === active ? "page" : null}>
            ${title}${view === "questions" && count}
          </a>
        </li>`,
      )}
    </ul>
  </nav>`;
}

function Theme() {
  const [theme, setTheme] = useState(window.phasesTheme.chosen());
  const choose = (event) => {
    window.phasesTheme.choose(event.target.value);
    setTheme(event.target.value);
  };
  return html`<select class="theme" aria-label="Colours" value=${theme} onChange=${choose}>
    <option value="">As the system</option>
    <option value="light">Light</option>
    <option value="dark">Dark</option>
  </select>`;
}
