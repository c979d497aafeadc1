// Regenerates web/page/recorded.bin and recorded.json: one gradient of the page's smallest model, read in the page.
//
//   cargo xtask web && cargo build --release --bin multinorm
//   MULTINORM_DIST=web/dist MULTINORM_PROGRAM=target/release/multinorm node .multinorm/browser/record.mjs web/page
//
// after `cargo xtask test lab` has put the tests and their packages into .multinorm/browser.
// recorded.bin holds the entries row by row as little-endian i16, scaled so that the largest magnitude is 32767.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { browser, dist, open, serve, until } from './browser.mjs';

const MODEL = 'micro';
const OPTIMIZER = 'sinkgd';
const STEP = 60;
const LARGEST = 32767;

const folder = process.argv[2];
if (!folder) { throw new Error('usage: node record.mjs FOLDER'); }
const place = await serve();
const chromium = await browser();
const { page } = await open(chromium, place.url, `optimizer=${OPTIMIZER}&model=${MODEL}&sequence=32&batch=4&steps=${STEP}&every=10&seed=0`);
await until(page, 'the end', (now) => now.status === 'finished', 1200);
await page.waitForFunction((step) => window.multinorm.spectrum(0)?.step === step, STEP);
const file = Buffer.from(await page.evaluate(() => [...window.multinorm.gradient(0)]));
await chromium.close();
place.server.close();

// A safetensors file consists of the length of a JSON header, the header and the numbers.
const start = 8 + Number(file.readBigUInt64LE(0));
const { __metadata__: _, ...tensors } = JSON.parse(file.subarray(8, start));
const [[name, { dtype, shape }]] = Object.entries(tensors);
if (dtype !== 'F32') { throw new Error(`${name} is ${dtype}, not F32`); }
const entries = Array.from({ length: shape[0] * shape[1] }, (_, at) => file.readFloatLE(start + 4 * at));
const largest = Math.max(...entries.map(Math.abs));
const scaled = Int16Array.from(entries, (entry) => Math.round((entry / largest) * LARGEST));
const bytes = Buffer.alloc(2 * scaled.length);
scaled.forEach((entry, at) => bytes.writeInt16LE(entry, 2 * at));

const { corpus } = JSON.parse(await readFile(join(dist, 'page.json'), 'utf8'));
const about = { name, shape, step: STEP, optimizer: OPTIMIZER, model: MODEL, corpus: corpus.name, largest };
await writeFile(join(folder, 'recorded.bin'), bytes);
await writeFile(join(folder, 'recorded.json'), `${JSON.stringify(about, null, 2)}\n`);
