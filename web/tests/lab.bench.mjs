// Measures the page on Chromium's software adapter: its size, seconds to the first step, the interface's share of each
// frame while a model trains, and tokens per second, compared with the native program on the same adapter.
//
// Prints one JSON document and asserts nothing, because times depend on the machine, which should be idle otherwise.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { browser, dist, open, program, serve, until } from './browser.mjs';

const SECONDS = 20;
const SEQUENCE = 32;
const BATCH = 4;
// More steps than can be made here, so that training does not end during a measurement.
const LINK = `model=micro&sequence=${SEQUENCE}&batch=${BATCH}&steps=100000`;
const PANELS = ['watch', 'why', 'train'];
// The native program's first steps compile kernels; by now the page has compiled its own.
const WARM_UP = 20;
const LEAST_STEPS = 100;
// SwiftShader, the CPU Vulkan driver bundled with Chromium. Which variable selects it depends on the loader's version.
const SWIFTSHADER = process.env.MULTINORM_SWIFTSHADER ?? '/usr/lib/chromium/vk_swiftshader_icd.json';
const ON_SWIFTSHADER = { VK_ICD_FILENAMES: SWIFTSHADER, VK_DRIVER_FILES: SWIFTSHADER };

const about = JSON.parse(await readFile(join(dist, 'page.json'), 'utf8'));
const place = await serve();
const chromium = await browser();
const { page, complaints } = await open(chromium, place.url, LINK);
const state = () => page.evaluate(() => window.multinorm.state());
await until(page, 'the first step', (now) => now.runs[0]?.step >= 1);
const seconds_to_first_step = await page.evaluate(() => window.multinorm.ready);

const frames = {};
for (const panel of PANELS) {
  await page.evaluate((panel) => window.multinorm.set('panel', panel), panel);
  await page.waitForTimeout(1000); // the view's first frames create its textures
  const { frame_ms: before } = await state();
  await page.waitForTimeout(1000 * SECONDS);
  frames[panel] = distribution(newer(before, (await state()).frame_ms));
}

await page.evaluate(() => window.multinorm.set('panel', 'watch'));
await page.waitForTimeout(1000);
const [from, to] = [await moment(), await page.waitForTimeout(1000 * SECONDS).then(moment)];
const steps = to.step - from.step;
const of_page = (steps * SEQUENCE * BATCH) / (to.secs - from.secs);
const { adapter, configuration } = await state();
await chromium.close();
place.server.close();

const native = await trained(configuration[0], Math.max(LEAST_STEPS, steps) + WARM_UP);
const told = {
  wasm_bytes: about.wasm_bytes,
  wasm_gzip_bytes: about.wasm_gzip_bytes,
  seconds_to_first_step,
  interface: frames,
  tokens_per_sec: { page: of_page, native: native.tokens_per_sec, page_to_native: of_page / native.tokens_per_sec },
  steps: { page: steps, native: native.steps },
  adapters: { page: adapter, native: native.adapter },
  complaints,
};
console.log(JSON.stringify(told, null, 2));

// The first run's step, and the time of asking.
async function moment() {
  return page.evaluate(() => ({ step: window.multinorm.state().runs[0].step, secs: performance.now() / 1000 }));
}

// The numbers added to a list that only keeps the newest.
function newer(before, after) {
  for (let kept = Math.min(before.length, after.length); kept > 0; kept -= 1) {
    if (before.slice(-kept).every((value, at) => value === after[at])) { return after.slice(kept); }
  }
  return after;
}

function distribution(some) {
  const sorted = [...some].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const over = sorted.filter((ms) => ms > 50).length;
  return { frames: sorted.length, median_ms: at(0.5), p95_ms: at(0.95), longest_ms: sorted.at(-1), over_50_ms: over / sorted.length };
}

// The page's run repeated by the native program, with the same driver and text, without evaluations and checkpoints.
async function trained(configuration, steps) {
  const folder = await mkdtemp(join(tmpdir(), 'lab-'));
  const [config, out] = [join(folder, 'config.toml'), join(folder, 'run')];
  await writeFile(config, configuration);
  const sets = [
    `data.source=["${join(dist, 'corpus.txt')}"]`, 'data.tokenizer="bytes"', `data.cache_dir="${join(folder, 'cache')}"`,
    `train.steps=${steps}`, 'eval.every=0', 'checkpoint.every=0',
  ];
  await ran('train', config, ...sets.flatMap((set) => ['--set', set]), '--out', out, '--json');
  const lines = (await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line));
  const speeds = lines.filter((line) => line.loss !== undefined).slice(WARM_UP).map((line) => line.tokens_per_sec);
  const adapter = JSON.parse(await ran('devices', '--json')).find((of) => of.selected);
  await rm(folder, { recursive: true });
  const secs = speeds.reduce((sum, speed) => sum + 1 / speed, 0);
  return { tokens_per_sec: speeds.length / secs, steps: speeds.length, adapter: adapter.name };
}

async function ran(...args) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...ON_SWIFTSHADER } });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data) => { out += data; });
  child.stderr.on('data', (data) => { err += data; });
  const [code] = await once(child, 'close');
  if (code !== 0) { throw new Error(`multinorm ${args.join(' ')}: ${err}`); }
  return out;
}
