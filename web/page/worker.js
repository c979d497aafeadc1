// Follows gradients through their passes, off the drawing thread.
import init, { follow } from './multinorm_lab.js';

const ready = init({ module_or_path: './multinorm_lab_bg.wasm' });

onmessage = async (event) => {
  try {
    await ready;
    postMessage(follow(event.data));
  } catch (error) {
    postMessage([JSON.stringify({ failed: String(error?.message ?? error) })]);
  }
};
