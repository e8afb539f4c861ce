// The page: finds the project, follows it, shows the view that the address asks for.
import {CompareView} from "./compare.js";
import * as data from "./data.js";
import {useProject} from "./follow.js";
import {html, render, useEffect, useRef, useState} from "./html.js";
import {LossesView} from "./losses.js";
import {MoneyView} from "./money.js";
import {Moment, Waiting, useLoaded, useNow} from "./parts.js";
import {PhaseView} from "./phase.js";
import {PipelineView} from "./pipeline.js";
import {QuestionsView} from "./questions.js";
import {address, experimentInMlflow, parse} from "./route.js";
import {plural} from "./words.js";

const TABS = {pipeline: "Pipeline", questions: "Questions", money: "Money and time", losses: "Lost and found"};
const PARTS = {phase: "pipeline", compare: "pipeline"};

function useRoute() {
  const [route, setRoute] = useState(parse(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parse(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function App() {
  const route = useRoute();
  if (data.report) {
    const {experiment_id: experiment, project} = data.report;
    return html`<${Project} route=${{...route, view: route.view === "home" ? "pipeline" : route.view, experiment, project}} />`;
  }
  if (route.view === "find") return html`<${Find} key=${route.run} route=${route} />`;
  if (route.view === "home" || !route.project) return html`<${Home} only=${route.experiment} />`;
  return html`<${Project} key=${JSON.stringify([route.experiment, route.project])} route=${route} />`;
}

/** An address that names a run only: the server says where it belongs. */
function Find({route}) {
  const {data: found, error} = useLoaded(() => data.find(route.run), [route.run]);
  useEffect(() => {
    if (!found) return;
    const {experiment_id: experiment, project, phase} = found;
    location.replace(route.left ? address(experiment, project, "compare", route.left, route.right) : address(experiment, project, "phase", phase, route.run));
  }, [found]);
  return html`<${Frame}><${Waiting} error=${error} /><//>`;
}

function Home({only}) {
  const {data: found, error} = useLoaded(data.experiments, []);
  const all = (found?.experiments ?? []).filter((one) => one.projects.length && (!only || one.experiment_id === only));
  const single = all.length === 1 && all[0].projects.length === 1 ? all[0] : null;
  useEffect(() => {
    if (single) location.replace(address(single.experiment_id, single.projects[0].name));
  }, [single]);
  return html`<${Frame}>
    <h1 tabindex="-1">Experiments</h1>
    ${(!found || error) && html`<${Waiting} error=${error} />`}
    ${found && !all.length && html`<p class="panel quiet">No experiment that you may read holds phases yet. Start one: <code>mlflow run . -e PHASE -b phases</code></p>`}
    ${all.length > 0 && html`<ul class="experiments">${all.map((one) => html`<li class="panel" key=${one.experiment_id}><b class="name">${one.name}</b>
      ${one.projects.map((name) => html`<a key=${name} class="name" href=${address(one.experiment_id, name)}>${name}</a>`)}</li>`)}</ul>`}
  <//>`;
}

function Project({route}) {
  const {experiment, project} = route;
  const known = useProject(experiment, project);
  const {pipeline, live, problem} = known;
  const questions = data.report ? data.report.questions ?? [] : live?.questions ?? pipeline?.questions ?? [];
  const shared = {experiment, project, pipeline, questions, running: live?.running ?? [], heard: known.heard, version: known.version};
  const waiting = questions.filter((question) => question.waiting).length;
  useEffect(() => {
    document.title = `${waiting ? `(${waiting}) ` : ""}${project}: ${TABS[PARTS[route.view] ?? route.view].toLowerCase()} · Phases`;
  }, [project, route.view, waiting]);
  return html`<${Frame} ...${{route, pipeline, questions, problem}}>
    ${pipeline ? html`<${View} ...${{route, shared, pipeline}} refresh=${known.refresh} />` : html`<${Waiting} error=${problem} />`}
    <${Changes} pipeline=${pipeline} questions=${questions} />
  <//>`;
}

function View({route, shared, pipeline, refresh}) {
  switch (route.view) {
    case "questions":
      return html`<${QuestionsView} ...${shared} mayAnswer=${Boolean(pipeline.may_answer)} refresh=${refresh} />`;
    case "money":
      return html`<${MoneyView} ...${shared} />`;
    case "losses":
      return html`<${LossesView} ...${shared} />`;
    case "phase":
      return html`<${PhaseView} key=${route.phase} ...${shared} phase=${route.phase} run=${route.run} />`;
    case "compare":
      return data.report ? html`<p class="quiet">A report compares no runs.</p>` : html`<${CompareView} ...${shared} left=${route.left} right=${route.right} />`;
    default:
      return html`<${PipelineView} ...${shared} />`;
  }
}

/** Tells those who listen what has changed, without moving them. */
function Changes({pipeline, questions}) {
  const before = useRef(null);
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!pipeline) return;
    const now = new Map(pipeline.phases.map(({phase, state}) => [phase, state]));
    const changes = before.current ? [...now].filter(([phase, state]) => before.current.get(phase) !== state) : [];
    before.current = now;
    if (changes.length) setSaid(changes.map(([phase, state]) => `${phase} is now ${state}`).join("; "));
  }, [pipeline]);
  const asked = questions.length ? `${plural(questions.length, "question")} open` : "";
  return html`<div class="unseen" role="status" aria-live="polite">${said}</div><div class="unseen" role="status" aria-live="polite">${asked}</div>`;
}

function Frame({route, pipeline, questions = [], problem, children}) {
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
  const skip = (event) => {
    event.preventDefault();
    focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Top} ...${{route, pipeline, questions}} />
    ${data.report && html`<p class="notice">A report of ${data.report.project}, made <${Moment} at=${data.report.at} /> UTC. It does not change, and answers nothing.</p>`}
    ${problem && pipeline && html`<${Away} problem=${problem} />`}
    <main id="main" ref=${main} tabindex="-1">${children}</main>
    <footer class="quiet">${pipeline && html`As of <${Moment} at=${pipeline.at} />. `}All times are UTC.</footer>
  `;
}

function Away({problem}) {
  const now = useNow(1000);
  const left = Math.max(0, Math.round((problem.next - now) / 1000));
  return html`<p class="notice bad"><span role="alert">${problem.message} What you see may be out of date.</span> <span>Next try in ${left} s.</span></p>`;
}

function Top({route, pipeline, questions}) {
  const {experiment, project} = route ?? {};
  const active = route && (PARTS[route.view] ?? route.view);
  return html`<header>
    <div class="bar">
      <a class="brand" href=${data.report ? "#/" : "#"}>Phases</a>
      ${pipeline && html`<span class="where"><span class="name">${pipeline.experiment.name}</span><span class="quiet"> / </span><${Projects} ...${{experiment, project, pipeline}} /></span>`}
      <span class="grow"></span>
      ${pipeline?.user && html`<span class="quiet name">${pipeline.user}</span>`}
      ${!data.report && html`<a href=${experiment ? experimentInMlflow(experiment) : "./#/"}>MLflow</a>`}
      <${Theme} />
    </div>
    ${project && html`<nav aria-label="Views"><ul>${Object.entries(TABS).map(([view, title]) => html`<li key=${view}><a href=${address(experiment, project, view)} aria-current=${view === active ? "page" : null}>${title}${view === "questions" && questions.length > 0 && html` <span class="count ask">${questions.length}</span>`}</a></li>`)}</ul></nav>`}
  </header>`;
}

function Projects({experiment, project, pipeline}) {
  const names = pipeline.projects ?? [project];
  if (names.length < 2) return html`<b class="name">${project}</b>`;
  const go = (event) => (location.hash = address(experiment, event.target.value));
  return html`<select aria-label="Project" value=${project} onChange=${go}>${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select>`;
}

function Theme() {
  const [theme, setTheme] = useState(window.phasesTheme.chosen());
  const choose = (event) => {
    window.phasesTheme.choose(event.target.value);
    setTheme(event.target.value);
  };
  return html`<select class="theme" aria-label="Colours" value=${theme} onChange=${choose}><option value="">As the system</option><option value="light">Light</option><option value="dark">Dark</option></select>`;
}

const place = document.getElementById("page");
place.textContent = "";
render(html`<${App} />`, place);
