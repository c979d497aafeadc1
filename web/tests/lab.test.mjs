// Tests the built page in a real Chromium on its software adapter, against the native program.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { browser, colours, dist, native, open, serve, until } from './browser.mjs';

let place;
let chromium;
let plain; // without WebGPU
before(async () => {
  place = await serve();
  chromium = await browser();
  plain = await browser(false);
});
after(async () => {
  await chromium?.close();
  await plain?.close();
  place?.server.close();
});

// Small enough for a CPU that emulates a GPU.
const SMALL = 'model=micro&sequence=16&batch=2&steps=60&every=1&seed=3';
const lab = (link, viewport) => open(chromium, place.url, link, viewport);

test('it trains, as the native program does, and says what it sees', async () => {
  const { page, complaints } = await lab(SMALL);
  await until(page, 'twelve steps', (now) => now.runs[0]?.step >= 12);
  await page.evaluate(() => window.multinorm.run(false));
  const seen = await until(page, 'a pause', (now) => now.status === 'paused');
  const losses = seen.runs[0].losses;
  assert.ok(losses.length >= 12 && losses.every(Number.isFinite), String(losses));
  const mean = (some) => some.reduce((a, b) => a + b, 0) / some.length;
  assert.ok(mean(losses.slice(-4)) < mean(losses.slice(0, 4)), `the loss falls: ${losses}`);

  // The same run in the native program.
  const folder = await mkdtemp(join(tmpdir(), 'lab-'));
  const config = join(folder, 'config.toml');
  await writeFile(config, seen.configuration[0]);
  const data = [`data.source=["${join(dist, 'corpus.txt')}"]`, 'data.tokenizer="bytes"'];
  const sets = [...data, 'train.steps=60', `data.cache_dir="${join(folder, 'cache')}"`].flatMap((set) => ['--set', set]);
  await native('train', config, ...sets, '--out', join(folder, 'run'), '--json');
  const metrics = (await readFile(join(folder, 'run', 'metrics.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line));
  const theirs = metrics.filter((line) => line.loss !== undefined).map((line) => line.loss);
  for (let step = 0; step < 10; step += 1) {
    assert.ok(Math.abs(losses[step] - theirs[step]) < 1e-3, `step ${step + 1}: ${losses[step]} here, ${theirs[step]} there`);
  }

  // The spectra match the native program's on the same gradient.
  // Read both at once: a look in progress when the run paused may still arrive.
  const [look, gradient] = await page.evaluate(() => [window.multinorm.spectrum(0), [...window.multinorm.gradient(0)]]);
  const file = join(folder, 'gradient.safetensors');
  await writeFile(file, Buffer.from(gradient));
  const told = await native('normalize', file, '--passes', 'row,column', '--iterations', '5', '--spectrum', '--json');
  assert.equal(look.passes.length, 11);
  assert.equal(told.passes.length, 11);
  for (const [at, entry] of told.passes.entries()) {
    const ours = look.passes[at];
    assert.equal(ours.pass, entry.pass);
    const largest = entry.singular_values[0];
    for (const [index, sigma] of entry.singular_values.entries()) {
      const off = Math.abs(ours.singular_values[index] - sigma);
      assert.ok(off <= 1e-4 * largest, `${entry.pass} ${at}, σ${index + 1}: ${ours.singular_values[index]}, not ${sigma}`);
    }
  }
  assert.ok(Math.abs(look.rate_predicted - told.rate_predicted) < 1e-3);
  assert.deepEqual(complaints, []);

  // What a screen reader gets.
  assert.match(await page.locator('#status').textContent(), /sinkgd \d+ steps, loss \d/);
  const cells = await page.locator('#rows td').allTextContents();
  assert.equal(cells[0], 'sinkgd');
  assert.match(await page.title(), /multinorm lab: sinkgd/);
  await page.close();
});

test('every view draws', async () => {
  const { page, complaints } = await lab(`${SMALL}&optimizer=sinkgd,adam`);
  await until(page, 'a look', (now) => now.runs.length === 2 && now.runs.every((run) => run.looks > 1));
  await page.evaluate(() => window.multinorm.run(false));
  await until(page, 'a pause', (now) => now.status === 'paused');
  const pictures = process.env.MULTINORM_PICTURES;
  const pages = [];
  for (const panel of ['watch', 'why', 'lesson', 'train', 'newton-schulz', 'memory']) {
    await page.evaluate((panel) => window.multinorm.set('panel', panel), panel);
    await page.waitForTimeout(panel === 'memory' ? 4000 : 1200);
    const png = await page.locator('#lab').screenshot();
    if (pictures) { await writeFile(join(pictures, `${panel}.png`), png); }
    const seen = await colours(page, png);
    assert.ok(seen > 60, `${panel} has ${seen} colours`);
    assert.ok(!pages.some((other) => other.equals(png)), `${panel} looks like another view`);
    pages.push(png);
  }
  assert.deepEqual(complaints, []);
  await page.close();
});

test('the address repeats the view', async () => {
  const link = 'panel=newton-schulz&optimizer=muon&model=micro&sequence=16&batch=1&seed=9&parameter=model.layers.1.self_attn.q_proj.weight&half_step=1';
  const { page } = await lab(link);
  const seen = await until(page, 'the lab', (now) => now.runs.length === 1);
  const words = new URLSearchParams(seen.settings);
  for (const [key, value] of new URLSearchParams(link)) {
    // Links leave out default values.
    assert.ok(words.get(key) === value || !words.has(key), `${key}=${words.get(key)}`);
  }
  assert.equal(words.get('panel'), 'newton-schulz');
  await page.evaluate(() => window.multinorm.set('seed', '11'));
  await page.waitForTimeout(1000);
  assert.match(await page.evaluate(() => location.hash), /seed=9/, 'a setting that waits for a new start is not claimed');
  await page.evaluate(() => window.multinorm.reset());
  await page.waitForFunction(() => location.hash.includes('seed=11'), null, { timeout: 30000 });
  const [hash, address] = await page.evaluate(() => [location.hash.slice(1), location.href]);
  const again = await chromium.newPage();
  await again.goto(address);
  const repeated = await until(again, 'the same view', (now) => now.runs.length === 1);
  assert.equal(repeated.settings, hash);
  await assert.rejects(page.evaluate(() => window.multinorm.set('optimizer', 'sinkdg')), /did you mean `sinkgd`/);
  await again.close();
  await page.close();
});

test('a lost device is told, and the runs go on', async () => {
  const { page } = await lab(`${SMALL}&steps=2000`);
  await until(page, 'three steps', (now) => now.runs[0]?.step >= 3);
  await page.evaluate(() => window.multinorm.loseDevice());
  await page.locator('#act').waitFor({ state: 'visible', timeout: 60000 });
  assert.match(await page.locator('#status').textContent(), /device/);
  assert.match(await page.locator('#banner').textContent(), /lost.*Continue on a new device/s);
  // The user edits the address while the lab moves to the new device.
  await page.evaluate(() => { document.getElementById('act').click(); location.hash += '&lesson=2'; });
  await until(page, 'steps on the new device', (now) => !now.device_lost && now.status === 'running' && now.runs[0]?.step >= 3);
  assert.match(await page.evaluate(() => window.multinorm.state().settings), /lesson=2/);
  assert.match(await page.evaluate(() => location.hash), /lesson=2/);
  const png = await page.locator('#lab').screenshot();
  assert.ok((await colours(page, png)) > 30, 'the canvas is alive');
  assert.equal(await page.locator('#banner').isVisible(), false);
  await page.close();
});

test('a new device can be asked for again', async () => {
  // The first attempt to leave the canvas fails.
  const stuck = (page) => page.route('**/multinorm_lab.js', async (route) => {
    const code = await (await route.fetch()).text();
    const once = `{ const { leave } = Handle.prototype; Handle.prototype.leave = () => { Handle.prototype.leave = leave; throw new Error('stuck'); }; }`;
    await route.fulfill({ contentType: 'text/javascript', body: `${code}\n${once}` });
  });
  const { page } = await open(chromium, place.url, `${SMALL}&steps=2000`, undefined, stuck);
  await until(page, 'a step', (now) => now.runs[0]?.step >= 1);
  await page.evaluate(() => window.multinorm.loseDevice());
  const button = page.locator('#act');
  await button.filter({ hasText: 'Continue on a new device' }).click({ timeout: 60000 });
  await button.filter({ hasText: 'Try again' }).click({ timeout: 10000 });
  const seen = await until(page, 'a step of new runs', (now) => !now.device_lost && now.runs[0]?.step >= 1);
  assert.match(seen.settings, /seed=3/, 'the address counts where no runs were saved');
  await page.close();
});

test("every kernel within WebGPU's default limits compiles without a message", async () => {
  const { page } = await lab(SMALL);
  await until(page, 'the lab', (now) => now.runs.length === 1);
  const { names, told } = await page.evaluate(async () => {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const shaders = window.multinorm.shaders();
    const told = [];
    for (const { name, code } of shaders) {
      const { messages } = await device.createShaderModule({ label: name, code }).getCompilationInfo();
      told.push(...messages.map(({ type, message, lineNum }) => `${name}:${lineNum}: ${type}: ${message}`));
    }
    device.destroy();
    return { names: shaders.map(({ name }) => name), told };
  });
  assert.deepEqual(told, []);
  assert.ok(names.length > 80 && new Set(names).size === names.length, `${names.length} kernels`);
  for (const name of ['matmul_nt', 'scale_rows', 'apply_scaled']) { assert.ok(names.some((other) => other.startsWith(name)), name); }
  await page.close();
});

test('a text of the reader is learned', async () => {
  const { page } = await lab(SMALL);
  await until(page, 'a step', (now) => now.runs[0]?.step >= 1);
  const words = 'the cat sat on the mat and the dog sat on the log. '.repeat(200);
  await page.locator('#file').setInputFiles({ name: 'cat.txt', mimeType: 'text/plain', buffer: Buffer.from(words) });
  const seen = await until(page, 'a step on it', (now) => now.text === 'cat.txt' && now.runs[0]?.step >= 1);
  assert.equal(seen.notice, '');
  await page.evaluate((again) => window.multinorm.learn('mine', again), words);
  await until(page, 'a step on it', (now) => now.text === 'mine' && now.runs[0]?.step >= 1);
  await page.evaluate(() => window.multinorm.learn('short', 'too short'));
  const refused = await until(page, 'a refusal', (now) => now.notice !== '');
  assert.match(refused.notice, /short|few|token/);

  // Impossible runs end in a message, after which other runs can be started.
  const again = (sequence) => page.evaluate((value) => { window.multinorm.set('sequence', value); window.multinorm.reset(); }, sequence);
  await again('512');
  const failed = await until(page, 'a failure', (now) => now.status === 'failed');
  assert.match(failed.message, /token/);
  await page.locator('#banner').waitFor({ state: 'visible' });
  assert.match(await page.locator('#banner').textContent(), /token.*Start again/s);
  assert.equal(failed.device_lost, false);
  await again('16');
  await until(page, 'a step after it', (now) => now.status !== 'failed' && now.runs[0]?.step >= 1);
  await page.close();
});

test('a file of matrices is looked into', async () => {
  const { page } = await lab(SMALL);
  await until(page, 'a look', (now) => now.runs[0]?.looks > 0);
  const live = await page.evaluate(() => window.multinorm.spectrum(0));
  const looked = await page.evaluate(async () => {
    const file = window.multinorm.gradient(0);
    window.multinorm.run(false);
    window.multinorm.open('mine.safetensors', file);
    for (let wait = 0; wait < 100; wait += 1) {
      const seen = window.multinorm.spectrum(0);
      if (seen?.step === 0) { return seen; }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return null;
  });
  assert.equal(looked?.parameter, live.parameter);
  assert.equal(looked.passes.length, 11);
  const seen = await until(page, 'the view', (now) => !now.settings.includes('panel='));
  assert.equal(seen.notice, '');
  await page.evaluate(() => window.multinorm.open('broken.safetensors', new Uint8Array([1, 2, 3])));
  const refused = await until(page, 'a refusal', (now) => now.notice !== '');
  assert.match(refused.notice, /broken\.safetensors: .*truncated/);
  await page.evaluate(() => window.multinorm.close());
  assert.ok((await page.evaluate(() => window.multinorm.spectrum(0))).step > 0);
  await page.close();
});

test('it fits a phone held upright', async () => {
  const { page } = await lab(`${SMALL}&panel=spectrum`, { width: 390, height: 844 });
  await until(page, 'a look', (now) => now.runs[0]?.looks > 0);
  await page.waitForTimeout(1000);
  await fits(page, 390);
  const png = await page.locator('#lab').screenshot();
  if (process.env.MULTINORM_PICTURES) { await writeFile(join(process.env.MULTINORM_PICTURES, 'phone.png'), png); }
  assert.ok((await colours(page, png)) > 40);
  await page.close();
});

// Checks that nothing is wider than the page or too small for a finger.
async function fits(page, width) {
  const faults = await page.evaluate((width) => {
    const seen = [...document.querySelectorAll('main *')].filter((element) => element.checkVisibility());
    const name = (element) => `${element.localName}#${element.id}.${element.className}`;
    const wide = seen.filter((element) => element.getBoundingClientRect().right > width + 0.5);
    // egui keeps an invisible input field for keyboards beside the canvas.
    const small = seen.filter((element) => element.matches('button, summary, input:not(#lab ~ *)') && element.getBoundingClientRect().height < 44);
    return [...wide.map((element) => `${name(element)} is too wide`), ...small.map((element) => `${name(element)} is too small`)];
  }, width);
  assert.deepEqual(faults, []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= width, `the page is ${wide} wide`);
}

// On an idle machine; measured: half a second.
const SHOWN_MS = 3000;

const hasDone = (page, pass, seconds = 60) => page.waitForFunction((pass) => window.multinormIntro?.pass >= pass, pass, { timeout: 1000 * seconds });

test('while the lab loads, a recorded gradient becomes balanced', async () => {
  let arrive;
  const arrived = new Promise((resolve) => { arrive = resolve; });
  const holdBack = (page) => page.route('**/*.wasm', async (route) => { await arrived; await route.continue(); });
  const { page, complaints } = await open(chromium, place.url, SMALL, undefined, holdBack);
  // Milliseconds after navigation, as the page itself saw them.
  const shown = await page.waitForFunction(() => {
    const drawn = document.querySelector('#figure.drawn') && window.multinormIntro?.deviation.length > 0;
    return drawn ? performance.now() : null;
  });
  assert.ok((await shown.jsonValue()) < SHOWN_MS, `the gradient is seen after ${await shown.jsonValue()} ms`);
  const headline = page.locator('#headline');
  assert.equal(await headline.textContent(), 'Watch a gradient become balanced');
  assert.ok(await headline.isVisible());
  const first = await page.locator('#matrix').screenshot();
  // A pass is animated: the bars of its rows or columns move one after the other.
  const spoken = page.locator('#caption');
  await page.waitForFunction(() => document.getElementById('caption').textContent.startsWith('Pass 1'));
  const moving = await page.evaluate(async () => {
    const pictures = new Set();
    while (window.multinormIntro.pass === 0) {
      pictures.add(document.getElementById('matrix').toDataURL());
      await new Promise((resolve) => { requestAnimationFrame(resolve); });
    }
    return pictures.size;
  });
  assert.ok(moving > 3, `pass 1 has ${moving} pictures`);
  await page.waitForFunction(() => document.getElementById('caption').textContent.startsWith('Pass 2'));
  assert.match(await spoken.textContent(), /Pass 2 of 10\. Every column/);
  await page.waitForFunction(() => /every row has the same length, and so does every column/.test(document.getElementById('caption').textContent));
  const { deviation } = await page.evaluate(() => window.multinormIntro);
  const last = await page.locator('#matrix').screenshot();
  assert.ok(!first.equals(last), 'the picture changes');
  for (const png of [first, last, await page.locator('#convergence').screenshot()]) { assert.ok((await colours(page, png)) > 40); }

  // Compare with the native program on the same entries. Their scale differs, so skip the gradient itself.
  const folder = await mkdtemp(join(tmpdir(), 'lab-'));
  const { shape } = JSON.parse(await readFile(join(dist, 'recorded.json'), 'utf8'));
  const integers = await readFile(join(dist, 'recorded.bin'));
  const entries = Buffer.from(Float32Array.from({ length: integers.length / 2 }, (_, at) => integers.readInt16LE(2 * at)).buffer);
  const header = JSON.stringify({ gradient: { dtype: 'F32', shape, data_offsets: [0, entries.length] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = join(folder, 'recorded.safetensors');
  await writeFile(file, Buffer.concat([length, Buffer.from(header), entries]));
  const { passes } = await native('normalize', file, '--passes', 'row,column', '--iterations', '5', '--json');
  assert.equal(deviation.length, 11);
  for (const [at, entry] of passes.entries()) {
    if (at === 0) { continue; }
    const off = [deviation[at].rows - entry.row_deviation_rms, deviation[at].columns - entry.column_deviation_rms];
    assert.ok(off.every((difference) => Math.abs(difference) < 1e-6), `pass ${at}: ${JSON.stringify([deviation[at], entry])}`);
  }
  for (let pass = 2; pass <= 10; pass += 1) {
    const larger = (at) => Math.max(deviation[at].rows, deviation[at].columns);
    assert.ok(larger(pass) < larger(pass - 1), `pass ${pass}: ${JSON.stringify(deviation)}`);
  }
  assert.ok(deviation[10].rows < 0.01 && deviation[10].columns < 0.01);

  // Once loaded, the lab takes up the whole screen.
  arrive();
  await page.locator('#intro').waitFor({ state: 'hidden', timeout: 120000 });
  const [canvas, screen] = await page.evaluate(() => [document.getElementById('lab').getBoundingClientRect().toJSON(), [innerWidth, innerHeight]]);
  assert.deepEqual([canvas.top, canvas.left, canvas.height], [0, 0, screen[1]]);
  assert.ok(Math.abs(canvas.width - screen[0]) < 20, 'but for a scroll bar');
  for (const below of ['#numbers', '#open', '#help']) {
    await page.locator(`${below} summary`).scrollIntoViewIfNeeded();
    assert.ok(await page.locator(`${below} summary`).isVisible(), below);
  }
  assert.deepEqual(complaints, []);
  await page.close();
});

test('a bad address is answered, and the address says what is shown', async () => {
  const { page } = await lab(SMALL);
  await until(page, 'the lab', (now) => now.runs.length === 1);
  const banner = page.locator('#banner');
  assert.equal(await banner.isVisible(), false);
  await page.evaluate(() => { location.hash += '&optimizer=sinkdg&lesson=2'; });
  await banner.waitFor({ state: 'visible' });
  assert.match(await banner.textContent(), /Problem in the address: .*no optimizer is called `sinkdg`.*did you mean `sinkgd`/);
  assert.match(await page.evaluate(() => location.hash), /^#(?!.*sinkdg).*lesson=2/);
  await page.locator('#dismiss').click();
  assert.equal(await banner.isVisible(), false);
  // Removing a key is not a mistake.
  await page.evaluate(() => { location.hash = 'lesson=1'; });
  await page.waitForFunction(() => /lesson=1/.test(location.hash) && /seed=3/.test(location.hash));
  assert.equal(await banner.isVisible(), false);
  await page.close();
});

test('without WebGPU the page says so, balances the recorded gradient and shows pictures', async () => {
  const { page, complaints } = await open(plain, place.url, '', { width: 390, height: 844 });
  await page.locator('#without').waitFor({ state: 'visible', timeout: 30000 });
  await hasDone(page, 1);
  await fits(page, 390);
  const button = page.locator('#play');
  await button.focus();
  await page.keyboard.press('Space');
  assert.equal(await button.textContent(), 'Play');
  const stopped = await page.evaluate(() => window.multinormIntro.pass);
  await page.waitForTimeout(3000);
  assert.equal(await page.evaluate(() => window.multinormIntro.pass), stopped);
  await button.click();
  await hasDone(page, 10);
  const words = await page.locator('#without').textContent();
  assert.match(words, /The lab needs WebGPU; this part does not/);
  for (const name of ['WebGPU', 'Chrome', 'Firefox', 'Safari']) { assert.ok(words.includes(name), name); }
  await page.locator('figure img').last().scrollIntoViewIfNeeded();
  await page.waitForFunction(() => [...document.images].every((image) => image.complete && image.naturalWidth > 0), null, { timeout: 20000 });
  assert.deepEqual(complaints, []);
  await page.close();
});

test('nothing moves for those who do not want it', async () => {
  const { page } = await open(plain, place.url, '', undefined, (page) => page.emulateMedia({ reducedMotion: 'reduce' }));
  // Collect every picture of the matrix up to the end: the gradient and one per pass.
  const seen = await page.evaluate(() => new Promise((resolve) => {
    const pictures = new Set();
    const look = () => {
      const { pass } = window.multinormIntro;
      if (document.getElementById('pass').textContent) { pictures.add(document.getElementById('matrix').toDataURL()); }
      if (pass === 10) { resolve(pictures.size); } else { setTimeout(look, 50); }
    };
    look();
  }));
  assert.equal(seen, 11);
  await page.close();
});

test('the words of the page stand out from what is behind them', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { page } = await open(plain, place.url, '', undefined, (page) => page.emulateMedia({ colorScheme }));
    const colour = (name) => page.evaluate((name) => getComputedStyle(document.documentElement).getPropertyValue(name), name);
    // Relative luminance and contrast: WCAG 2.2.
    const luminance = (hex) => [0.2126, 0.7152, 0.0722].reduce((sum, share, which) => {
      const channel = parseInt(hex.slice(1 + 2 * which, 3 + 2 * which), 16) / 255;
      return sum + share * (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4);
    }, 0);
    for (const [words, behind] of [['--text', '--surface'], ['--secondary', '--surface'], ['--secondary', '--panel'], ['--text', '--warning']]) {
      const [low, high] = [luminance(await colour(words)), luminance(await colour(behind))].sort((a, b) => a - b);
      const contrast = (high + 0.05) / (low + 0.05);
      assert.ok(contrast >= 4.5, `${colorScheme}: ${words} on ${behind} has ${contrast.toFixed(2)}`);
    }
    await page.close();
  }
});

// Runs the desktop program on a virtual screen until it has saved its picture; checks that and returns its stderr.
async function drawn(name, ...words) {
  const picture = join(await mkdtemp(join(tmpdir(), 'lab-')), 'window.png');
  const screen = ['--auto-servernum', '--server-args=-screen 0 1280x800x24', process.env.MULTINORM_LAB];
  const child = spawn('xvfb-run', [...screen, ...words, '--picture', picture], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data) => { said += data; });
  const [code] = await once(child, 'close');
  assert.equal(code, 0, said);
  const png = await readFile(picture);
  if (process.env.MULTINORM_PICTURES) { await writeFile(join(process.env.MULTINORM_PICTURES, `${name}.png`), png); }
  const page = await chromium.newPage();
  await page.goto(place.url);
  assert.ok((await colours(page, png)) > 60, said);
  await page.close();
  return said;
}

test('the window draws on a screen without a monitor, and goes on after its device is lost', async () => {
  const said = await drawn('window', `${SMALL}&panel=spectrum`, '--lose-device', '2', '--after', '4');
  assert.match(said, /the device was lost; the lab goes on in a new window/);
  assert.ok(!said.includes('panicked'), said);
});

test('the window opens a run and leaves its folder as it is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lab-'));
  const run = join(folder, 'run');
  const sets = [
    `data.source=["${join(dist, 'corpus.txt')}"]`, 'data.tokenizer="bytes"', `data.cache_dir="${join(folder, 'cache')}"`,
    'model.preset="tiny"', 'model.vocab_size=256', 'model.hidden_size=32', 'model.intermediate_size=88', 'model.num_hidden_layers=2',
    'model.num_attention_heads=2', 'model.num_key_value_heads=1', 'optimizer.name="muon"', 'train.steps=8', 'train.batch_size=2',
    'train.micro_batch_size=2', 'train.sequence_length=16', 'train.fused_update=true', 'eval.max_tokens=256',
  ];
  await native('train', ...sets.flatMap((set) => ['--set', set]), '--out', run, '--json');
  const listing = async () => {
    const names = (await readdir(run, { recursive: true })).sort();
    return Promise.all(names.map(async (name) => { const { mtimeMs, size } = await stat(join(run, name)); return [name, mtimeMs, size]; }));
  };
  const before = await listing();
  await drawn('run', 'panel=fixed-point&half_step=2', run, '--after', '8');
  assert.deepEqual(await listing(), before);
});
