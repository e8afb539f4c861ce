// Open questions: the options as the terminal shows them, each with a button.
import * as data from "./data.js";
import {html, useLayoutEffect, useRef, useState} from "./html.js";
import {Command, Heading, Moment, RunLink, RunName, SupersededRuns} from "./parts.js";
import {Icon} from "./states.js";
import {plural} from "./words.js";

const HAS_ENDED =
  "The process that asked has ended. Each option below shows the command that starts the phase with this answer.";
const MAY_ONLY_READ = "You may read this question. Answering it needs permission to edit this experiment.";

const keyOf = (question) => `${question.run_id} ${question.asked_at}`;

export function QuestionsView({experiment, questions, mayAnswer, refresh}) {
  // A question that was answered here stays visible after the server has removed it from its list.
  const [answered, setAnswered] = useState(new Map());
  const finish = (question, outcome) => {
    setAnswered((before) => new Map(before).set(keyOf(question), {question, outcome}));
    refresh();
  };
  const open = questions.filter((question) => !answered.has(keyOf(question)));
  return html`
    <${Heading}>Questions<//>
    ${!open.length && !answered.size && html`<p class="panel quiet">No question is open.</p>`}
    <div class="outcomes" aria-live="polite">
      ${[...answered].map(([key, one]) => html`<${AnsweredQuestion} key=${key} ...${one} experiment=${experiment} />`)}
    </div>
    ${open.map((one) => html`<${Question} key=${keyOf(one)} question=${one} ...${{experiment, mayAnswer, finish}} />`)}
  `;
}

function AnsweredQuestion({question, outcome, experiment}) {
  const {counted, message, command} = outcome;
  return html`<article class=${`panel answered ${counted ? "good" : "warn"}`}>
    <h2><${Icon} state=${counted ? "up to date" : "stale"} /> <${RunName} run=${question} experiment=${experiment} /></h2>
    ${outcome.letter ? html`<${Counted} question=${question} outcome=${outcome} />` : html`<p>${message}</p>`}
    ${command && html`<${Command} text=${command} />`}
  </article>`;
}

/** The answer that counted, with its author. */
function Counted({question, outcome}) {
  const option = question.options.find((one) => one.letter === outcome.letter);
  const what = `${outcome.letter}) ${option?.title ?? ""}`;
  const when = outcome.answered_at && html`, <${Moment} at=${outcome.answered_at} /> UTC`;
  return html`<p>
    ${outcome.counted ? "Answered " : "Somebody else answered first: "}
    <b>${what}</b>${outcome.answered_by && html` by <b>${outcome.answered_by}</b>`}${when}.
  </p>`;
}

function Question({question, experiment, mayAnswer, finish}) {
  const [chosen, setChosen] = useState(null);
  const [sending, setSending] = useState(false);
  const [problem, setProblem] = useState("");
  const send = async (option) => {
    setSending(true);
    setProblem("");
    try {
      finish(question, await data.answer(question, option.letter));
    } catch (error) {
      setProblem(error.status ? error.message : `${error.message} It is not known if the answer arrived.`);
      setSending(false);
    }
  };
  const choose = (option) => (supersedes(option) ? setChosen(option.letter) : send(option));
  const buttons = question.waiting && mayAnswer && !data.report;
  const id = `ask-${question.run_id}`;
  return html`<article class="panel question" aria-labelledby=${id}>
    <h2 id=${id}><${Icon} state="asking" /> <span class="name">${question.phase}</span>: a decision is needed</h2>
    <${Asker} question=${question} experiment=${experiment} />
    <ul class="reasons">
      ${question.reasons.map((reason) => html`<li>${reason}</li>`)}
    </ul>
    ${!buttons && !data.report && html`<p class="hint">${question.waiting ? MAY_ONLY_READ : HAS_ENDED}</p>`}
    <div class="options">
      ${question.options.map(
        (option) => html`<${Choice} key=${option.letter} ...${{option, experiment, buttons, sending, send, choose}}
          confirming=${chosen === option.letter} cancel=${() => setChosen(null)} />`,
      )}
    </div>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
  </article>`;
}

function Asker({question, experiment}) {
  const who = question.user && html`, started by <b>${question.user}</b>`;
  return html`<p class="quiet">
    Run <${RunLink} id=${question.run_id} experiment=${experiment} />${who}, asked${" "}
    <${Moment} at=${question.asked_at} /> UTC
  </p>`;
}

const supersedes = (option) => option.supersedes.length > 0 || option.not_listed > 0;

function Choice({option, experiment, buttons, sending, send, choose, confirming, cancel}) {
  const {letter, title} = option;
  const button = useRef(null);
  const confirmed = useRef(false);
  useLayoutEffect(() => {
    // The button that had the focus is removed; the focus moves to the answer button.
    if (confirmed.current && !confirming) button.current?.focus();
    confirmed.current = confirming;
  }, [confirming]);
  const kind = supersedes(option) ? "option superseding" : "option";
  return html`<div class=${kind} role="group" aria-label=${`Option ${letter}`}>
    <h3><b class="letter">${letter}</b> <span>${title}</span></h3>
    <p class="price">${option.price}</p>
    ${option.keeps.length > 0 && html`<h4>Keeps</h4>`}
    <ul>
      ${option.keeps.map((kept) => html`<li>${kept}</li>`)}
    </ul>
    ${supersedes(option) && html`<h4>Supersedes</h4>`}
    <${SupersededRuns} runs=${option.supersedes} experiment=${experiment} />
    ${option.not_listed > 0 && html`<p>and ${plural(option.not_listed, "more run")}</p>`}
    ${!buttons && html`<${Command} text=${option.command} label=${`Command for option ${letter}`} />`}
    ${buttons && confirming && html`<${Confirm} ...${{option, sending, cancel}} go=${() => send(option)} />`}
    ${
      buttons &&
      !confirming &&
      html`<button type="button" class="main" ref=${button} disabled=${sending} onClick=${() => choose(option)}
      aria-label=${`Answer ${letter}: ${title}`}>${sending ? "Sending ..." : `Answer ${letter}`}</button>`
    }
  </div>`;
}

function Confirm({option, sending, cancel, go}) {
  const button = useRef(null);
  useLayoutEffect(() => button.current.focus(), []);
  const count = option.supersedes.length + option.not_listed;
  return html`<div class="confirm" role="group" aria-label="Confirm">
    <p>
      This supersedes ${plural(count, "finished run")}. Nothing is deleted: a superseded run stays in the store, but no
      longer counts. Continue?
    </p>
    <button type="button" class="danger" ref=${button} disabled=${sending} onClick=${go}>
      ${sending ? "Sending ..." : `Yes, option ${option.letter}`}
    </button>
    <button type="button" disabled=${sending} onClick=${cancel}>Back</button>
  </div>`;
}
