// Loads the lab, shows how far that is, and carries its state into the page for those who do not see the canvas.
//
// For pages that embed it and for tests there is an object `multinorm`, documented in docs/lab.md:
//   multinorm.ready              a promise of the first step
//   multinorm.state()            what is going on
//   multinorm.set(key, value)    one setting, by its key in a link
//   multinorm.run(bool), step(), reset()
//   multinorm.spectrum(run)      the newest look into the watched gradient
import init, { start } from './multinorm_lab.js';

const byId = (id) => document.getElementById(id);
const status = byId('status');
let said = '';

function say(words) {
  if (words === said) { return; }
  said = words;
  status.textContent = words;
}

async function main() {
  const began = performance.now();
  if (!navigator.gpu || !(await navigator.gpu.requestAdapter().catch(() => null))) {
    withoutWebGpu(navigator.gpu ? 'WebGPU is there, but it finds no adapter.' : 'WebGPU is not there.');
    return;
  }
  const about = await (await fetch('page.json')).json();
  say('loading the program');
  await init({ module_or_path: await followed('multinorm_lab_bg.wasm', about.wasm_bytes) });
  say('loading the text');
  const text = about.corpus ? await (await fetch('corpus.txt')).text() : '';
  const corpus = about.corpus ?? { name: '', license: '' };
  const begin = (link) => start(byId('lab'), text, corpus.name, corpus.license, link);
  let handle = await begin(location.hash.slice(1));
  byId('progress').hidden = true;
  byId('file').addEventListener('change', async ({ target }) => {
    const [file] = target.files;
    if (!file) { return; }
    const bytes = new Uint8Array(await file.arrayBuffer());
    target.value = ''; // the same file may be chosen again
    try { handle.open(file.name, bytes); } catch (error) { say(String(error)); }
  });

  const api = {
    state: () => handle.state(),
    set: (key, value) => handle.set(key, String(value)),
    run: (running = true) => handle.run(running),
    step: () => handle.step(),
    reset: () => handle.reset(),
    spectrum: (run = 0) => handle.spectrum(run),
    gradient: (run = 0) => handle.gradient(run),
    open: (name, bytes) => handle.open(name, bytes),
    close: () => handle.close(),
    learn: (name, words) => handle.learn(name, words),
    loseDevice: () => handle.lose_device(),
    panicMessage: () => handle.panic_message(),
    secondsToFirstStep: null,
  };
  let first;
  api.ready = new Promise((resolve) => { first = resolve; });
  window.multinorm = api;
  window.addEventListener('hashchange', () => {
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
      try { handle.set(key, value); } catch (error) { say(String(error)); }
    }
  });

  byId('again').addEventListener('click', recover);
  let recovering = false;
  async function recover() {
    if (recovering) { return; }
    recovering = true;
    byId('again').hidden = true;
    say('asking for a new device');
    handle.leave();
    // A canvas stays bound to the device that drew on it.
    const old = byId('lab');
    const fresh = old.cloneNode(false);
    old.replaceWith(fresh);
    try {
      handle = await begin('');
    } catch (error) {
      say(String(error));
      byId('again').hidden = false;
    }
    recovering = false;
  }

  let lost = false;
  setInterval(() => {
    if (recovering) { return; }
    const panic = handle.panic_message();
    if (panic) { say(`the lab stopped: ${panic}. Reload the page to go on.`); return; }
    let state;
    try { state = handle.state(); } catch { return; }
    if (state.runs[0]?.step > 0 && api.secondsToFirstStep === null) {
      api.secondsToFirstStep = (performance.now() - began) / 1000;
      document.title = `multinorm lab: ${state.runs.map((run) => run.optimizer).join(' and ')}`;
      first(api.secondsToFirstStep);
    }
    table(state);
    if (state.device_lost) {
      say(`${state.message} Press the button to go on from the last snapshot.`);
      byId('again').hidden = false;
      if (!lost) { lost = true; byId('again').focus(); }
      return;
    }
    lost = false;
    if (state.status === 'failed') { say(state.message); return; }
    // Not every number: a screen reader would never end.
    const rounded = state.runs.map((run) => `${run.optimizer} ${Math.floor(run.step / 10) * 10} steps, loss ${run.loss?.toFixed(1) ?? '–'}`);
    say(`${state.adapter}: ${state.status}; ${rounded.join('; ')}`);
  }, 500);
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
  say('no WebGPU');
  byId('why').textContent = why;
  byId('progress').hidden = true;
  byId('lab').hidden = true;
  byId('numbers').hidden = true;
  byId('open').hidden = true;
  byId('without').hidden = false;
}

main().catch((error) => {
  byId('progress').hidden = true;
  const words = String(error?.message ?? error);
  if (/WebGPU|WebGL|adapter/i.test(words)) { withoutWebGpu(words); } else { say(`the lab cannot start: ${words}`); }
});
