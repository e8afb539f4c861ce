// The page: finds the project, follows it, and shows the view of the address.
import {CompareView} from "./compare.js";
import * as data from "./data.js";
import {useProject} from "./follow.js";
import {Frame} from "./frame.js";
import {html, render, useEffect, useState} from "./html.js";
import {MoneyView} from "./money.js";
import {Waiting, useLoaded} from "./parts.js";
import {PhaseView} from "./phase.js";
import {PipelineView} from "./pipeline.js";
import {QuestionsView} from "./questions.js";
import {RecoverableView} from "./recoverable.js";
import {address, parse} from "./route.js";

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
    const view = route.view === "home" ? "pipeline" : route.view;
    return html`<${Project} route=${{...route, view, experiment, project}} />`;
  }
  if (route.view === "find") return html`<${Find} key=${route.run} route=${route} />`;
  if (route.view === "home" || !route.project) return html`<${Home} only=${route.experiment} />`;
  return html`<${Project} key=${JSON.stringify([route.experiment, route.project])} route=${route} />`;
}

/** An address with a run only: the server knows its experiment and project. */
function Find({route}) {
  const {data: found, error} = useLoaded(() => data.find(route.run), [route.run]);
  useEffect(() => {
    if (!found) return;
    // A pipeline's own run is of no phase.
    const alone = found.phase ? ["phase", found.phase, route.run] : [];
    const view = route.left ? ["compare", route.left, route.right] : alone;
    location.replace(address(found.experiment_id, found.project, ...view));
  }, [found]);
  return html`<${Frame}><${Waiting} error=${error} /><//>`;
}

function Home({only}) {
  const {data: found, error} = useLoaded(data.experiments, []);
  const all = (found?.experiments ?? []).filter((one) => one.projects.length && (!only || one.experiment_id === only));
  const single = all.length === 1 && all[0].projects.length === 1 ? all[0] : null;
  useEffect(() => {
    if (single) location.replace(address(single.experiment_id, single.projects[0]));
  }, [single]);
  return html`<${Frame}>
    <h1 tabindex="-1">Experiments</h1>
    ${(!found || error) && html`<${Waiting} error=${error} />`}
    ${found && !all.length && html`<${NoPhases} only=${only} />`}
    <ul class="experiments">
      ${all.map((one) => html`<${Experiment} key=${one.experiment_id} ...${one} />`)}
    </ul>
  <//>`;
}

function NoPhases({only}) {
  const command = `mlflow run . -e PHASE -b phases${only ? ` --experiment-id ${only}` : ""}`;
  return html`<div class="panel quiet">
    <p>
      ${only ? `Experiment ${only} holds no phases that you may read.` : "No experiment that you may read holds phases yet."}
      ${" "}Start one: <code>${command}</code>
    </p>
    ${only && html`<p><a href="#">All experiments</a></p>`}
  </div>`;
}

function Experiment({experiment_id: experiment, name, projects}) {
  const link = (project) => html`<a key=${project} class="name" href=${address(experiment, project)}>${project}</a>`;
  return html`<li class="panel"><b class="name experiment">${name}</b> ${projects.map(link)}</li>`;
}

function Project({route}) {
  const {experiment, project} = route;
  const {pipeline, live, problem, heard, version, refresh} = useProject(experiment, project);
  const questions = (data.report ? data.report.questions : live?.questions) ?? pipeline?.questions ?? [];
  const running = live?.running ?? [];
  const shared = {experiment, project, pipeline, questions, running, heard, version, refresh};
  return html`<${Frame} ...${{route, pipeline, questions, problem}}>
    ${pipeline ? html`<${View} route=${route} shared=${shared} />` : html`<${Waiting} error=${problem} />`}
  <//>`;
}

function View({route, shared}) {
  switch (route.view) {
    case "questions":
      return html`<${QuestionsView} ...${shared} mayAnswer=${Boolean(shared.pipeline.may_answer)} />`;
    case "money":
      return html`<${MoneyView} ...${shared} />`;
    case "recoverable":
      return html`<${RecoverableView} ...${shared} />`;
    case "phase":
      return html`<${PhaseView} key=${route.phase} ...${shared} phase=${route.phase} run=${route.run} />`;
    case "compare":
      if (data.report) return html`<p class="quiet">A report holds no comparisons of runs.</p>`;
      return html`<${CompareView} ...${shared} left=${route.left} right=${route.right} />`;
    default:
      return html`<${PipelineView} ...${shared} />`;
  }
}

const place = document.getElementById("page");
place.textContent = "";
render(html`<${App} />`, place);
