// Loads the lab, shows its progress, and carries its state into the page for those who do not see the canvas.
//
// For pages that embed it and for tests there is an object `multinorm`, documented in docs/lab.md:
//   multinorm.ready              a promise of the first step
//   multinorm.state()            what is going on
//   multinorm.summary()          the same in little
//   multinorm.set(key, value)    one setting, by its key in a link
//   multinorm.run(bool), step(), reset()
//   multinorm.spectrum(run)      the newest look into the watched gradient
import init, { start } from './multinorm_lab.js';
import { leave } from './intro.js';

const POLL_MS = 500;
const HIDDEN_POLL_MS = 5000;

const byId = (id) => document.getElementById(id);
let said = '';
let revealed = false;

// For those who do not see the canvas, and for everybody while the page loads.
function say(words) {
  if (words === said) { return; }
  said = words;
  byId('status').textContent = words;
  // What fades away keeps its words: longer ones would move it.
  if (!revealed) { byId('loading-words').textContent = words; }
}

// What a person must know or do, above the canvas. `action` is a button's label and what it does.
const banner = {
  what: null,
  show(what, words, action) {
    if (this.what === what && byId('trouble').textContent === words) { return; }
    this.what = what;
    byId('trouble').textContent = words;
    const [label, act] = action ?? ['', null];
    byId('act').textContent = label;
    byId('act').hidden = !action;
    byId('act').onclick = act;
    byId('dismiss').hidden = Boolean(action);
    byId('banner').hidden = false;
    if (action) { byId('act').focus(); }
  },
  // Does nothing where something else is told by now.
  hide(what) {
    if (this.what !== what) { return; }
    this.what = null;
    byId('banner').hidden = true;
  },
};
byId('dismiss').addEventListener('click', () => { banner.hide(banner.what); byId('lab').focus(); });

async function main() {
  const began = performance.now();
  if (!navigator.gpu) { withoutWebGpu('This browser has no WebGPU.'); return; }
  const page = fetch('page.json').then((response) => response.json());
  page.catch(() => {}); // without an adapter it does not matter; with one it is awaited below
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) { withoutWebGpu('This browser has WebGPU but found no graphics adapter.'); return; }
  const about = await page;
  say('Loading the lab');
  await init({ module_or_path: await followed('multinorm_lab_bg.wasm', about.wasm_bytes) });
  say('Loading the text');
  const text = about.corpus ? await (await fetch('corpus.txt')).text() : '';
  const corpus = about.corpus ?? { name: '', license: '' };
  say('Starting');
  const begin = (link) => start(byId('lab'), text, corpus.name, corpus.license, link);
  let handle = await begin(location.hash.slice(1)); // null between two devices
  const there = () => {
    if (!handle) { throw new Error('The lab is moving to a new device.'); }
    return handle;
  };
  await drawn();
  reveal();
  byId('file').addEventListener('change', async ({ target }) => {
    const [file] = target.files;
    if (!file) { return; }
    const bytes = new Uint8Array(await file.arrayBuffer());
    target.value = ''; // the same file may be chosen again
    try { there().open(file.name, bytes); } catch (error) { banner.show('file', sentence(error)); }
  });

  const api = {
    state: () => there().state(),
    summary: () => there().summary(),
    set: (key, value) => there().set(key, String(value)),
    run: (running = true) => there().run(running),
    step: () => there().step(),
    reset: () => there().reset(),
    spectrum: (run = 0) => there().spectrum(run),
    gradient: (run = 0) => there().gradient(run),
    open: (name, bytes) => there().open(name, bytes),
    close: () => there().close(),
    learn: (name, words) => there().learn(name, words),
    loseDevice: () => there().lose_device(),
    shaders: () => there().shaders(),
    panicMessage: () => there().panic_message(),
    secondsToFirstStep: null,
  };
  let first;
  api.ready = new Promise((resolve) => { first = resolve; });
  window.multinorm = api;

  // A key that is no longer in the address keeps its value.
  function follow(link) {
    const wrong = [];
    for (const [key, value] of new URLSearchParams(link)) {
      try { handle.set(key, value); } catch (error) { wrong.push(String(error)); }
    }
    if (wrong.length > 0) { banner.show('address', `Problem in the address: ${wrong.join('; ')}`); } else { banner.hide('address'); }
    try { tellTruth(handle.summary().settings); } catch { /* the lab has stopped, which the page tells below */ }
  }
  let asked = null; // the address, if somebody edits it between two devices
  window.addEventListener('hashchange', ({ newURL }) => {
    const link = new URL(newURL).hash.slice(1); // the lab may have written its own by now
    if (handle) { follow(link); } else { asked = link; }
  });

  let recovering = false;
  async function recover() {
    if (recovering) { return; }
    recovering = true;
    banner.hide('device');
    say('Requesting a new device');
    const lost = handle;
    handle = null;
    try {
      lost?.leave();
      // A canvas stays bound to the device that drew on it.
      const old = byId('lab');
      const fresh = old.cloneNode(false);
      old.replaceWith(fresh);
      handle = await begin(location.hash.slice(1)); // the address counts where no runs were saved
      fresh.focus(); // keys go on working
      if (asked !== null) { follow(asked); }
      asked = null;
    } catch (error) {
      banner.show('device', sentence(error), ['Try again', recover]);
    } finally {
      recovering = false;
    }
  }

  let polled = -Infinity;
  function poll() {
    if (!handle) { return; }
    // What the state holds grows with the runs, and nobody reads a hidden page.
    const now = performance.now();
    if (document.hidden && api.secondsToFirstStep !== null && now - polled < HIDDEN_POLL_MS) { return; }
    polled = now;
    const panic = handle.panic_message();
    if (panic) { banner.show('stopped', `The lab stopped. ${sentence(panic)}`, ['Reload the page', () => location.reload()]); return; }
    let state;
    try { state = handle.summary(); } catch { return; }
    if (state.runs[0]?.step > 0 && api.secondsToFirstStep === null) {
      api.secondsToFirstStep = (performance.now() - began) / 1000;
      document.title = `multinorm lab: ${state.runs.map((run) => run.optimizer).join(' and ')}`;
      first(api.secondsToFirstStep);
    }
    table(state);
    if (state.device_lost) {
      say(state.message);
      banner.show('device', `${sentence(state.message)} The runs can continue from their last snapshot.`, ['Continue on a new device', recover]);
      return;
    }
    banner.hide('device');
    if (state.status === 'failed') {
      say(state.message);
      banner.show('failed', sentence(state.message), ['Start again', () => { handle.reset(); byId('lab').focus(); }]);
      return;
    }
    banner.hide('failed');
    // Not every number: a screen reader would never end.
    const rounded = state.runs.map((run) => `${run.optimizer} ${Math.floor(run.step / 10) * 10} steps, loss ${run.loss?.toFixed(1) ?? '–'}`);
    say([state.notice, `${state.adapter}: ${state.status}`, ...rounded].filter(Boolean).join('; '));
  }
  setInterval(poll, POLL_MS);
  document.addEventListener('visibilitychange', poll);
}

function sentence(words) {
  const text = String(words?.message ?? words).trim();
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? '' : '.');
}

// A frame is on the screen when the next one but one begins.
function drawn() {
  return new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); });
}

// The lab takes the place of what was shown while it was loading.
function reveal() {
  revealed = true;
  const intro = byId('intro');
  const hadFocus = intro.contains(document.activeElement);
  const scrolled = window.scrollY;
  document.body.classList.add('ready');
  byId('lab').inert = false;
  intro.inert = true;
  intro.classList.add('leaving');
  // The whole lab is in view, and what fades stays where the reader has scrolled it to.
  window.scrollTo(0, 0);
  intro.style.translate = `0 ${-scrolled}px`;
  if (hadFocus) { byId('lab').focus(); }
  setTimeout(() => { intro.hidden = true; leave(); }, 700);
}

// What is shown, in the address line, whatever somebody wrote there.
function tellTruth(link) {
  const here = location.pathname + location.search;
  history.replaceState(history.state, '', link ? `${here}#${link}` : here);
}

function table(state) {
  const cell = (words) => { const td = document.createElement('td'); td.textContent = words ?? '–'; return td; };
  byId('rows').replaceChildren(...state.runs.map((run) => {
    const tr = document.createElement('tr');
    tr.append(cell(run.optimizer), cell(run.step), cell(run.loss?.toFixed(4)), cell(run.eval_loss?.toFixed(4)),
      cell(run.tokens_per_sec?.toFixed(0)), cell(run.state_bytes));
    return tr;
  }));
}

// A response whose arrival moves the progress bar. `bytes` is the size after decompression.
async function followed(file, bytes) {
  const response = await fetch(file);
  const reader = response.body.getReader();
  let arrived = 0;
  const stream = new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) { controller.close(); return; }
      arrived += value.byteLength;
      byId('progress').value = Math.min(1, arrived / bytes);
      controller.enqueue(value);
    },
  });
  return new Response(stream, { headers: { 'Content-Type': 'application/wasm' } });
}

function withoutWebGpu(why) {
  say('The lab needs WebGPU');
  byId('why').textContent = why;
  byId('progress').hidden = true;
  byId('lab').hidden = true;
  byId('more').hidden = true;
  byId('without').hidden = false;
}

main().catch((error) => {
  const words = String(error?.message ?? error);
  if (/WebGPU|WebGL|adapter/i.test(words)) { withoutWebGpu(words); return; }
  byId('progress').hidden = true;
  say('The lab cannot start');
  banner.show('start', `The lab cannot start. ${sentence(words)}`, ['Reload the page', () => location.reload()]);
});
