// The pictures of docs/lab: each view of a real run on Chromium's software adapter.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { browser, open, serve, until } from './browser.mjs';

const folder = process.env.MULTINORM_PICTURES;
const STEPS = 100;

const place = await serve();
const chromium = await browser();
const { page } = await open(chromium, place.url, 'optimizer=sinkgd,adam&model=micro&sequence=32&batch=4&steps=200&every=5');
await until(page, `${STEPS} steps`, (now) => now.runs.length === 2 && now.runs.every((run) => run.step >= STEPS), 1200);
await page.evaluate(() => window.multinorm.run(false));
await until(page, 'a pause', (now) => now.status === 'paused');
for (const panel of ['watch', 'why', 'lesson', 'train', 'newton-schulz', 'memory']) {
  await page.evaluate((panel) => {
    window.multinorm.set('panel', panel);
    window.multinorm.set('lesson', 3);
  }, panel);
  await page.waitForTimeout(panel === 'memory' ? 6000 : 2000);
  await writeFile(join(folder, `${panel}.png`), await page.locator('#lab').screenshot());
}
await chromium.close();
place.server.close();
