// The page on Chromium's software adapter: size, seconds to the first step, and what the interface itself takes of a frame
// while a model trains.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { browser, dist, open, serve, until } from './browser.mjs';

const SECONDS = 20;

const about = JSON.parse(await readFile(join(dist, 'page.json'), 'utf8'));
const place = await serve();
const chromium = await browser();
const { page, complaints } = await open(chromium, place.url, 'model=micro&sequence=32&batch=4');
await until(page, 'the first step', (now) => now.runs[0]?.step >= 1);
const first = await page.evaluate(() => window.multinorm.ready);
const shares = {};
for (const panel of ['watch', 'why', 'train']) {
  await page.evaluate((panel) => window.multinorm.set('panel', panel), panel);
  await page.waitForTimeout(1000 * SECONDS);
  const { frame_ms: frames, runs } = await page.evaluate(() => window.multinorm.state());
  const sorted = [...frames].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  shares[panel] = {
    frames: frames.length, median_ms: at(0.5), p95_ms: at(0.95), longest_ms: sorted.at(-1),
    over_50_ms: frames.filter((ms) => ms > 50).length / frames.length, steps: runs[0].step,
  };
}
await chromium.close();
place.server.close();
const told = {
  wasm_bytes: about.wasm_bytes, wasm_gzip_bytes: about.wasm_gzip_bytes, seconds_to_first_step: first, interface: shares, complaints,
};
console.log(JSON.stringify(told, null, 2));
