// Follows a project: polls the running runs every few seconds, and loads the pipeline again only when it has changed.
import * as data from "./data.js";
import {useEffect, useState} from "./html.js";

const BUSY_MS = 5000;
const IDLE_MS = 15000;
const LONGEST_MS = 60000;
/** The pause is this many times as long as the answer took: a page costs a server less than a hundredth of a core. */
const REST = 120;
const LONGEST_REST_MS = 10000;

class Follower {
  /** `publish` is called with {pipeline, live, heard, version, problem}; `heard` is when, by this machine (ms). */
  constructor(experiment, project, publish) {
    Object.assign(this, {experiment, project, publish});
    this.known = {pipeline: null, live: null, heard: 0, version: 0, problem: null};
    this.stamp = null;
    this.failures = 0;
    this.took = 0;
    this.onVisible = () => document.hidden || this.poll();
  }

  start() {
    if (!data.report) document.addEventListener("visibilitychange", this.onVisible);
    this.poll();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.onVisible);
  }

  async poll() {
    clearTimeout(this.timer);
    if (this.stopped || this.asking) return;
    if (document.hidden && this.known.pipeline) return;
    this.asking = true;
    let wait;
    try {
      await this.ask();
      this.failures = 0;
      wait = Math.max(this.isBusy() ? BUSY_MS : IDLE_MS, Math.min(LONGEST_REST_MS, REST * this.took));
      this.tell({problem: null});
    } catch (error) {
      wait = Math.min(LONGEST_MS, BUSY_MS * 2 ** this.failures);
      this.failures += 1;
      this.tell({problem: {message: error.message, status: error.status ?? 0, next: Date.now() + wait}});
      if (!(error instanceof data.RequestError)) console.error(error);
    } finally {
      this.asking = false;
    }
    if (!this.stopped && !data.report) this.timer = setTimeout(() => this.poll(), wait);
  }

  async ask() {
    const {experiment, project} = this;
    const first = !this.known.pipeline;
    const reading = first ? data.pipeline(experiment, project) : null;
    const began = performance.now();
    const [live, pipeline] = await Promise.all([data.live(experiment, project), reading]);
    // The first answer comes along with the pipeline, so it tells nothing.
    if (!first) this.took = performance.now() - began;
    if (this.stopped) return;
    this.known = {...this.known, live, heard: Date.now()};
    if (first) this.take(pipeline);
    // What changed between the two first answers is in neither: then the stamp is not that of the pipeline.
    if (first && live && Date.parse(live.at) > Date.parse(pipeline.at)) return;
    if (!live || live.stamp === this.stamp) return;
    if (!first) this.take(await data.pipeline(experiment, project));
    this.stamp = live.stamp;
  }

  take(pipeline) {
    this.known = {...this.known, pipeline, version: this.known.version + 1};
  }

  isBusy() {
    const {live} = this.known;
    return Boolean(live?.running?.length || live?.questions?.length);
  }

  tell(change) {
    this.known = {...this.known, ...change};
    if (!this.stopped) this.publish(this.known);
  }
}

const UNKNOWN = {pipeline: null, live: null, heard: 0, version: 0, problem: null};

export function useProject(experiment, project) {
  const [state, setState] = useState({of: "", known: UNKNOWN, follower: null});
  const of = JSON.stringify([experiment, project]);
  useEffect(() => {
    const follower = new Follower(experiment, project, (known) => setState({of, known, follower}));
    follower.start();
    return () => follower.stop();
  }, [of]);
  const mine = state.of === of;
  return {...(mine ? state.known : UNKNOWN), refresh: () => mine && state.follower.poll()};
}
