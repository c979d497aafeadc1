// Loads the lab, shows its progress, and mirrors its state in the page for users who cannot see the canvas.
//
// Pages that embed the lab, and tests, can use the object `multinorm`, documented in docs/lab.md:
//   multinorm.ready              a promise that resolves after the first step
//   multinorm.state()            the current state
//   multinorm.summary()          the same without the parts that grow
//   multinorm.set(key, value)    changes one setting, by its key in a link
//   multinorm.run(bool), step(), reset()
//   multinorm.spectrum(run)      the newest look at the watched gradient
import init, { start } from './multinorm_lab.js';
import { leave } from './intro.js';

const POLL_MS = 500;
const HIDDEN_POLL_MS = 5000;

const byId = (id) => document.getElementById(id);
let said = '';
let revealed = false;

// For users who cannot see the canvas, and for everyone while the page loads.
function say(words) {
  if (words === said) { return; }
  said = words;
  byId('status').textContent = words;
  // Do not change this text while it fades out: a longer one would shift it.
  if (!revealed) { byId('loading-words').textContent = words; }
}

// A message above the canvas that the user must know or act on. `action` is a button's label and handler.
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
  // Does nothing if another message is shown by now.
  hide(what) {
    if (this.what !== what) { return; }
    this.what = null;
    byId('banner').hidden = true;
  },
};
byId('dismiss').addEventListener('click', () => { banner.hide(banner.what); byId('lab').focus(); });

async function main() {
  const began = performance.now();
  if (!navigator.gpu) { withoutWebGpu('This browser does not support WebGPU.'); return; }
  const page = fetch('page.json').then((response) => response.json());
  page.catch(() => {}); // irrelevant without an adapter; otherwise awaited below
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
  let handle = await begin(location.hash.slice(1)); // null while moving to a new device
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
    target.value = ''; // so that the same file can be chosen again
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

  // Keys missing from the address keep their values.
  function follow(link) {
    const wrong = [];
    for (const [key, value] of new URLSearchParams(link)) {
      try { handle.set(key, value); } catch (error) { wrong.push(String(error)); }
    }
    if (wrong.length > 0) { banner.show('address', `Problem in the address: ${wrong.join('; ')}`); } else { banner.hide('address'); }
    try { tellTruth(handle.summary().settings); } catch { /* the lab has stopped; poll() reports it */ }
  }
  let asked = null; // the address, if edited while moving to a new device
  window.addEventListener('hashchange', ({ newURL }) => {
    const link = new URL(newURL).hash.slice(1); // the lab may have overwritten location.hash by now
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
      // A canvas stays bound to the device that drew on it, so make a new one.
      const old = byId('lab');
      const fresh = old.cloneNode(false);
      old.replaceWith(fresh);
      handle = await begin(location.hash.slice(1)); // the address is used only if no lab survived
      fresh.focus(); // so that keys keep working
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
    // Poll a hidden page less often: nobody reads it.
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
    // Round the numbers: otherwise a screen reader would never stop.
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

// Waits until a frame is on the screen: when the frame after the next begins.
function drawn() {
  return new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); });
}

// Replaces the intro with the lab.
function reveal() {
  revealed = true;
  const intro = byId('intro');
  const hadFocus = intro.contains(document.activeElement);
  const scrolled = window.scrollY;
  document.body.classList.add('ready');
  byId('lab').inert = false;
  intro.inert = true;
  intro.classList.add('leaving');
  // Bring the whole lab into view, but let the intro fade out where the reader had scrolled it.
  window.scrollTo(0, 0);
  intro.style.translate = `0 ${-scrolled}px`;
  if (hadFocus) { byId('lab').focus(); }
  setTimeout(() => { intro.hidden = true; leave(); }, 700);
}

// Makes the address match what is shown, whatever it said before.
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

// Fetches a file and updates the progress bar as it arrives. `bytes` is the size after decompression.
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
