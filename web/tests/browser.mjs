// Shared by the tests: a server for the page, Chromium, and waiting for a state.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

// Flags with which Chromium's software adapter keeps a canvas alive, and flags for a browser without WebGPU.
const WITH_WEBGPU = [
  '--no-sandbox', '--enable-unsafe-webgpu', '--enable-features=Vulkan', '--use-vulkan=swiftshader', '--use-angle=swiftshader',
];
const WITHOUT_WEBGPU = ['--no-sandbox'];

function wanted(variable) {
  const value = process.env[variable];
  if (!value) { throw new Error(`${variable} is not set: run these tests with \`cargo xtask test\``); }
  return value;
}

export const program = wanted('MULTINORM_PROGRAM');
export const dist = wanted('MULTINORM_DIST');

// Serves the page under a sub-path, as any static host would.
export async function serve() {
  const { createServer } = await import('node:http');
  const { readFile } = await import('node:fs/promises');
  const { join, normalize, extname } = await import('node:path');
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm', '.css': 'text/css', '.json': 'application/json', '.bin': 'application/octet-stream', '.svg': 'image/svg+xml' };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://here').pathname);
    if (!path.startsWith('/some/where/')) { response.writeHead(404).end(); return; }
    const file = normalize(path.slice('/some/where'.length));
    try {
      const bytes = await readFile(join(dist, file.endsWith('/') ? `${file}index.html` : file));
      response.writeHead(200, { 'Content-Type': types[extname(file)] ?? (file.endsWith('/') ? 'text/html' : 'text/plain') }).end(bytes);
    } catch { response.writeHead(404).end(); }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${server.address().port}/some/where/` };
}

export function browser(withWebGpu = true) {
  const executablePath = process.env.MULTINORM_CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, args: withWebGpu ? WITH_WEBGPU : WITHOUT_WEBGPU });
}

// Opens the lab, and collects errors and requests that should not happen. `prepare` gets the page before it navigates.
export async function open(instance, url, link = '', viewport = { width: 1280, height: 720 }, prepare = () => {}) {
  const page = await instance.newPage({ viewport });
  await prepare(page);
  const complaints = [];
  page.on('console', (message) => { if (message.type() === 'error') { complaints.push(message.text()); } });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    const at = request.url();
    if (!at.startsWith(url) && !at.startsWith('data:') && !at.startsWith('blob:')) { complaints.push(`a request to ${at}`); }
  });
  await page.goto(url + (link ? `#${link}` : ''));
  return { page, complaints };
}

// Waits until the state satisfies `is`.
export async function until(page, what, is, seconds = 240) {
  const end = Date.now() + 1000 * seconds;
  let last;
  while (Date.now() < end) {
    last = await page.evaluate(() => { try { return window.multinorm?.state() ?? null; } catch { return null; } });
    if (last && is(last)) { return last; }
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  const words = await page.evaluate(() => document.getElementById('status').textContent);
  throw new Error(`not within ${seconds} s: ${what}; the page says "${words}", the state is ${JSON.stringify(last)?.slice(0, 600)}`);
}

// Runs the native program and returns its JSON.
export async function native(...args) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  createInterface(child.stdout).on('line', (line) => { out += `${line}\n`; });
  child.stderr.on('data', (data) => { err += data; });
  const [code] = await once(child, 'close');
  if (code !== 0) { throw new Error(`multinorm ${args.join(' ')}: ${err}`); }
  return JSON.parse(out);
}

// The number of different colours in a screenshot; a blank canvas has one.
export async function colours(page, png) {
  return page.evaluate(async (bytes) => {
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: 'image/png' }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) { seen.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]); }
    return seen.size;
  }, [...png]);
}
