//! TensorBoard event files: records in TensorFlow's format (length, checksum, bytes, checksum), each a protocol buffer.
//!
//! Source: TensorFlow's `record_writer.h`, `event.proto`, `summary.proto` and `tensor.proto`; only the fields below are
//! written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crc::{CRC_32_ISCSI, Crc};
use web_time::SystemTime;

/// Writes one event file.
#[derive(Debug)]
pub struct EventFile {
    file: BufWriter<File>,
}

/// The contents of an event.
#[derive(Clone, Copy, Debug)]
pub enum EventKind<'a> {
    /// The first event of a file.
    FileVersion(&'a str),
    /// A session begins: readers drop this step and later ones.
    SessionStart,
    /// A point of the curve `tag`.
    Scalar {
        /// The curve's name.
        tag: &'a str,
        /// Its value.
        value: f32,
    },
    /// A text.
    Text {
        /// The name it is shown under.
        tag: &'a str,
        /// The text, which TensorBoard reads as Markdown.
        text: &'a str,
    },
}

impl EventFile {
    /// Creates a new file.
    ///
    /// Errors: the file exists, or the directory is not writable.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create_new(path)?) })
    }

    /// Appends an event for `step` with the current time.
    pub fn write(&mut self, step: u64, kind: EventKind<'_>) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let event = encode(now, step, kind);
        let length = (event.len() as u64).to_le_bytes();
        for bytes in [&length[..], &event] {
            self.file.write_all(bytes)?;
            self.file.write_all(&masked_checksum(bytes).to_le_bytes())?;
        }
        Ok(())
    }

    /// Flushes to the operating system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// CRC-32C, rotated and offset so that the checksum of bytes that include checksums remains sound.
fn masked_checksum(bytes: &[u8]) -> u32 {
    static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// An encoded `Event` message of `event.proto`.
fn encode(wall_time: f64, step: u64, kind: EventKind<'_>) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, wall_time);
    event.integer(2, step);
    match kind {
        EventKind::FileVersion(version) => event.bytes(3, version.as_bytes()),
        EventKind::SessionStart => event.message(7, |session| session.integer(1, 1)),
        EventKind::Scalar { tag, value } => event.message(5, |summary| {
            summary.message(1, |point| {
                point.bytes(1, tag.as_bytes());
                point.float(2, value);
            });
        }),
        EventKind::Text { tag, text } => event.message(5, |summary| {
            summary.message(1, |point| {
                point.bytes(1, tag.as_bytes());
                point.message(8, |tensor| {
                    tensor.integer(1, 7); // DT_STRING
                    tensor.message(2, |shape| shape.message(2, |dimension| dimension.integer(1, 1)));
                    tensor.bytes(8, text.as_bytes());
                });
                point.message(9, |metadata| metadata.message(1, |plugin| plugin.bytes(1, b"text")));
            });
        }),
    }
    event.0
}

/// A protocol buffer being written: fields with their number and type.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// Seven bits per byte, the lowest first; the eighth bit is set if another byte follows.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
