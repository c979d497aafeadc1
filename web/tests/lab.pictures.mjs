// Takes the pictures in docs/lab: each view of a real run on Chromium's software adapter, light and dark, on a desktop
// and on an upright phone.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { browser, open, serve, until } from './browser.mjs';

const folder = process.env.MULTINORM_PICTURES;
const STEPS = 100;
// Time for a view to compute what it shows: the plans of all optimizers, the map of rates.
const REST_MS = { memory: 6000, why: 45_000 };
const LESSON_STEPS = 10;
const DESK = { width: 1280, height: 720 };
const WIDE = { width: 1920, height: 1080 };
const PHONE = { width: 390, height: 844 };
const MODEL = 'model=micro&sequence=32&batch=4&steps=200&every=5';

const place = await serve();
const chromium = await browser();

// A page whose runs have made their steps and are paused.
async function trained(link) {
  const { page } = await open(chromium, place.url, link, DESK);
  await until(page, `${STEPS} steps`, (now) => now.runs.length && now.runs.every((run) => run.step >= STEPS), 1200);
  await page.evaluate(() => window.multinorm.run(false));
  await until(page, 'a pause', (now) => now.status === 'paused');
  return page;
}

// Takes a picture of one view with the given settings.
async function take(page, name, settings, { size = DESK, dark = false } = {}) {
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
  await page.evaluate((settings) => {
    for (const [key, value] of Object.entries(settings)) { window.multinorm.set(key, value); }
  }, settings);
  await page.waitForTimeout(REST_MS[settings.panel] ?? 2500);
  await writeFile(join(folder, `${name}.png`), await page.screenshot());
}

const one = await trained(`optimizer=sinkgd&${MODEL}`);
for (const dark of [false, true]) {
  const of = (name) => (dark ? `${name}-dark` : name);
  for (const [panel, half_step] of [['watch', 3], ['why', 3], ['train', 3], ['newton-schulz', 3], ['memory', 3]]) {
    await take(one, of(panel), { panel, half_step }, { dark });
  }
  for (let step = 1; step <= LESSON_STEPS; step += 1) {
    await take(one, of(`lesson-${step}`), { panel: 'lesson', lesson: step - 1 }, { dark });
  }
  for (const panel of ['watch', 'why', 'lesson']) {
    await take(one, of(`phone-${panel}`), { panel, lesson: 3 }, { size: PHONE, dark });
  }
}
await take(one, 'watch-wide', { panel: 'watch' }, { size: WIDE });
await one.close();

const two = await trained(`optimizer=sinkgd,muon&${MODEL}`);
await take(two, 'watch-two', { panel: 'watch', half_step: 10 });
await take(two, 'train', { panel: 'train' });
await take(two, 'train-dark', { panel: 'train' }, { dark: true });

await chromium.close();
place.server.close();
