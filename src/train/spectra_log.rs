//! Logs spectra during a run: a separate thread, and a file of lines.

use std::path::Path;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::samples::GradientSample;
use super::spectra::SpectrumRecord;
use crate::checkpoint::JsonLines;
use crate::{Error, Result};

/// Samples that may wait for the thread; when the queue is full, the run waits.
const WAITING: usize = 16;

/// Follows samples on a separate thread and appends the records to spectra.jsonl, in sample order.
pub(super) struct SpectraLog {
    lines: JsonLines,
    samples: Option<flume::Sender<GradientSample>>,
    records: flume::Receiver<SpectrumRecord>,
    thread: Option<JoinHandle<()>>,
    /// Samples whose record is not yet written.
    n_open: usize,
}

impl SpectraLog {
    /// Opens the log in a run's folder after `step`; an earlier run's lines are dropped unless this one resumes it.
    pub(super) fn open(run_dir: &Path, resume: bool, step: u64) -> Result<Self> {
        let lines = JsonLines::open(&run_dir.join("spectra.jsonl"), resume, step)?;
        let (samples, inbox) = flume::bounded::<GradientSample>(WAITING);
        let (outbox, records) = flume::unbounded();
        let thread = std::thread::spawn(move || {
            for sample in inbox {
                if outbox.send(SpectrumRecord::of(&sample)).is_err() {
                    return; // nobody is waiting any more
                }
            }
        });
        Ok(Self { lines, samples: Some(samples), records, thread: Some(thread), n_open: 0 })
    }

    /// Queues samples, and writes records completed meanwhile.
    pub(super) fn push(&mut self, samples: Vec<GradientSample>, on: &mut dyn FnMut(SpectrumRecord)) -> Result<()> {
        for sample in samples {
            self.n_open += 1;
            let sender = self.samples.as_ref().expect("open until it is dropped");
            sender.send(sample).map_err(|_| Self::ended())?;
        }
        while let Ok(record) = self.records.try_recv() {
            self.write(record, on)?;
        }
        Ok(())
    }

    /// Waits for everything that was pushed.
    pub(super) fn finish(&mut self, on: &mut dyn FnMut(SpectrumRecord)) -> Result<()> {
        while self.n_open > 0 {
            let record = self.records.recv().map_err(|_| Self::ended())?;
            self.write(record, on)?;
        }
        Ok(())
    }

    fn write(&mut self, record: SpectrumRecord, on: &mut dyn FnMut(SpectrumRecord)) -> Result<()> {
        let Value::Object(line) = json!(record) else { unreachable!("a struct") };
        self.lines.write(&line)?;
        self.n_open -= 1;
        on(record);
        Ok(())
    }

    fn ended() -> Error {
        Error::Data("the thread that computes spectra has stopped: see its error above".into())
    }
}

impl Drop for SpectraLog {
    fn drop(&mut self) {
        self.samples = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was printed when it happened.
            let _ = thread.join();
        }
    }
}
