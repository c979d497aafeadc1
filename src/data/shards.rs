//! Token ids in `.bin` shards, in nanoGPT's and llm.c's formats: memory-mapped, so that they may be larger than memory.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::vocabulary::id_too_large;
use crate::files::io_error;
use crate::{Error, Result};

/// Memory-mapped files of little-endian u16 or u32 ids, read as one sequence.
///
/// llm.c's header says which; for a file without one, as nanoGPT writes them, the width is inferred from the ids.
#[derive(Debug, Clone)]
pub struct Shards {
    parts: Vec<Part>,
    vocab_size: usize,
}

/// A range of one file's ids.
#[derive(Debug, Clone)]
struct Part {
    path: PathBuf,
    map: Arc<Mmap>,
    /// Bytes before the first id: llm.c writes a header, nanoGPT none.
    header_bytes: usize,
    width: Width,
    /// The range of the file's ids.
    ids: Range<usize>,
    /// Position of the first of `ids` in the whole sequence.
    start: usize,
}

/// The width of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Two,
    Four,
}

/// llm.c's header: 256 i32, the first of which are a magic number, a version, and the number of ids.
const HEADER_BYTES: usize = 1024;

impl Width {
    /// The narrowest width for ids below `vocab_size`.
    fn of(vocab_size: usize) -> Self {
        if vocab_size <= usize::from(u16::MAX) + 1 { Self::Two } else { Self::Four }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Magic number and version: GPT-2's tokens, or LLaMA 3's (llm.c, dev/data/data_common.py).
    fn header(self) -> [i32; 2] {
        match self {
            Self::Two => [20_240_520, 1],
            Self::Four => [20_240_801, 7],
        }
    }
}

impl Shards {
    /// Maps `paths` in order; reading fails on ids that are not below `vocab_size`.
    ///
    /// # Errors
    /// If a file cannot be mapped, is truncated, or does not contain ids.
    pub fn open(paths: &[PathBuf], vocab_size: usize) -> Result<Self> {
        let parts = paths.iter().map(|path| Part::open(path, vocab_size)).collect::<Result<_>>()?;
        Ok(Self { parts, vocab_size }.with_starts())
    }

    pub(super) fn len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.start + part.ids.len())
    }

    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        let mut parts = Vec::new();
        for part in &self.parts {
            let from = range.start.clamp(part.start, part.start + part.ids.len()) - part.start;
            let to = range.end.clamp(part.start, part.start + part.ids.len()) - part.start;
            if from < to {
                parts.push(Part { ids: part.ids.start + from..part.ids.start + to, ..part.clone() });
            }
        }
        Self { parts, vocab_size: self.vocab_size }.with_starts()
    }

    pub(super) fn copy_to(&self, start: usize, out: &mut [u32]) -> Result<()> {
        let mut at = self.parts.partition_point(|part| part.start + part.ids.len() <= start);
        let mut done = 0;
        while done < out.len() {
            let part = &self.parts[at];
            let first = part.ids.start + start + done - part.start;
            let count = (part.ids.end - first).min(out.len() - done);
            part.copy_to(first, &mut out[done..done + count], self.vocab_size)?;
            done += count;
            at += 1;
        }
        Ok(())
    }

    fn with_starts(mut self) -> Self {
        let mut start = 0;
        for part in &mut self.parts {
            part.start = start;
            start += part.ids.len();
        }
        self
    }
}

impl Part {
    fn open(path: &Path, vocab_size: usize) -> Result<Self> {
        let wrong = |message: String| Err(Error::Data(format!("{} {message}", path.display())));
        let file = File::open(path).map_err(Error::io("read", path))?;
        let n_bytes = file.metadata().map_err(Error::io("read", path))?.len();
        if n_bytes == 0 {
            return wrong("is empty".into());
        }
        let map = map(&file).map_err(Error::io("map", path))?;
        if is_zip(&map) {
            return wrong("is a ZIP archive, as PyTorch saves weights, and holds no token ids".into());
        }
        let (header_bytes, width, expected) = match header(&map) {
            Some((width, count)) => (HEADER_BYTES, width, Some(count)),
            None => (0, width_by_ids(&map, vocab_size), None),
        };
        let body = map.len() - header_bytes;
        if !body.is_multiple_of(width.bytes()) {
            return wrong(format!("is {n_bytes} bytes long, which is not a whole number of u16"));
        }
        let count = body / width.bytes();
        if let Some(expected) = expected.filter(|expected| *expected != count) {
            return wrong(format!(
                "holds {count} token ids, but its header says {expected}: it was truncated or changed"
            ));
        }
        Ok(Self { path: path.to_owned(), map: Arc::new(map), header_bytes, width, ids: 0..count, start: 0 })
    }

    fn copy_to(&self, first: usize, out: &mut [u32], vocab_size: usize) -> Result<()> {
        let width = self.width.bytes();
        let bytes = &self.map[self.header_bytes + width * first..][..width * out.len()];
        match self.width {
            Width::Two => {
                let (ids, _) = bytes.as_chunks();
                out.iter_mut().zip(ids).for_each(|(id, bytes)| *id = u32::from(u16::from_le_bytes(*bytes)));
            }
            Width::Four => {
                let (ids, _) = bytes.as_chunks();
                out.iter_mut().zip(ids).for_each(|(id, bytes)| *id = u32::from_le_bytes(*bytes));
            }
        }
        match out.iter().position(|id| *id as usize >= vocab_size) {
            None => Ok(()),
            Some(i) => Err(id_too_large(&format!("{} holds", self.path.display()), out[i], first + i, vocab_size)),
        }
    }
}

#[expect(unsafe_code, reason = "mapping a file has no safe form: another program may change it while we read")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: any bytes are valid ids, so a file modified under us gives other ids, never undefined values. A file
    // truncated under us ends the program with SIGBUS, as in every mmap reader.
    unsafe { Mmap::map(file) }
}

/// The width and number of ids in llm.c's header, if there is one.
fn header(bytes: &[u8]) -> Option<(Width, usize)> {
    let (fields, _) = bytes.get(..HEADER_BYTES)?.as_chunks();
    let field = |at: usize| i32::from_le_bytes(fields[at]);
    let width = [Width::Two, Width::Four].into_iter().find(|width| width.header() == [field(0), field(1)])?;
    Some((width, usize::try_from(field(2)).ok()?))
}

/// Recognized by its first bytes and by the directory at its end.
fn is_zip(bytes: &[u8]) -> bool {
    const LONGEST_END: usize = 22 + 0xffff;
    let end = &bytes[bytes.len().saturating_sub(LONGEST_END)..];
    bytes.starts_with(b"PK\x03\x04") && end.windows(4).any(|four| four == b"PK\x05\x06")
}

/// The width of ids in a file without a header: in u32 ids every second u16 is the high half, hence small.
fn width_by_ids(bytes: &[u8], vocab_size: usize) -> Width {
    const LOOKED_AT: usize = 1 << 20;
    /// Fewer could match by chance.
    const FEWEST_IDS: usize = 16;
    let (ids, rest) = bytes.as_chunks::<4>();
    let is_id = |id: &[u8; 4]| (u32::from_le_bytes(*id) as usize) < vocab_size;
    let has_ids = ids.iter().take(LOOKED_AT).any(|id| *id != [0; 4]);
    if rest.is_empty() && ids.len() >= FEWEST_IDS && has_ids && ids.iter().take(LOOKED_AT).all(is_id) {
        return Width::Four;
    }
    Width::Two
}

/// Writes ids as llm.c's shards: `STEM_000000.bin` and so on, each with a header.
pub(crate) struct ShardWriter {
    folder: PathBuf,
    stem: &'static str,
    width: Width,
    ids_per_shard: usize,
    open: Option<OpenShard>,
    paths: Vec<PathBuf>,
    n_ids: u64,
}

struct OpenShard {
    file: BufWriter<File>,
    path: PathBuf,
    n_ids: usize,
}

impl ShardWriter {
    /// Writes to `folder`, which must exist, ids below `vocab_size`; a shard is created when its first id arrives.
    pub fn new(folder: &Path, stem: &'static str, vocab_size: usize, ids_per_shard: usize) -> Self {
        // The header counts ids in an i32.
        let ids_per_shard = ids_per_shard.clamp(1, i32::MAX as usize);
        let width = Width::of(vocab_size);
        Self { folder: folder.to_owned(), stem, width, ids_per_shard, open: None, paths: Vec::new(), n_ids: 0 }
    }

    /// Appends ids.
    pub fn write(&mut self, ids: &[u32]) -> Result<()> {
        let mut rest = ids;
        while !rest.is_empty() {
            let shard = match self.open.take() {
                Some(shard) if shard.n_ids < self.ids_per_shard => self.open.insert(shard),
                full => {
                    full.map_or(Ok(()), |shard| shard.finish(self.width))?;
                    let path = self.folder.join(format!("{}_{:06}.bin", self.stem, self.paths.len()));
                    self.paths.push(path.clone());
                    self.open.insert(OpenShard::create(path)?)
                }
            };
            let (now, later) = rest.split_at(rest.len().min(self.ids_per_shard - shard.n_ids));
            let bytes: Vec<u8> = match self.width {
                Width::Two => now.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect(),
                Width::Four => now.iter().flat_map(|id| id.to_le_bytes()).collect(),
            };
            shard.file.write_all(&bytes).map_err(|error| io_error("write", &shard.path, error))?;
            shard.n_ids += now.len();
            self.n_ids += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Returns the files and the total number of ids.
    pub fn finish(self) -> Result<(Vec<PathBuf>, u64)> {
        self.open.map_or(Ok(()), |shard| shard.finish(self.width))?;
        Ok((self.paths, self.n_ids))
    }
}

impl OpenShard {
    fn create(path: PathBuf) -> Result<Self> {
        let create = || -> std::io::Result<BufWriter<File>> {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            file.write_all(&[0; HEADER_BYTES])?;
            Ok(file)
        };
        let file = create().map_err(|error| io_error("write", &path, error))?;
        Ok(Self { file, path, n_ids: 0 })
    }

    /// Writes the header, which is now known.
    fn finish(mut self, width: Width) -> Result<()> {
        let [magic, version] = width.header();
        let mut write = || -> std::io::Result<()> {
            self.file.seek(SeekFrom::Start(0))?;
            for field in [magic, version, self.n_ids as i32] {
                self.file.write_all(&field.to_le_bytes())?;
            }
            self.file.flush()
        };
        write().map_err(|error| io_error("write", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::tokens::Tokens;
    use super::*;

    fn write_shard(path: &Path, header: &[i32], ids: &[u16]) -> PathBuf {
        let mut bytes: Vec<u8> = header.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes.resize(if header.is_empty() { 0 } else { 1024 }, 0);
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        std::fs::write(path, bytes).unwrap();
        path.to_owned()
    }

    fn read(tokens: &Tokens, start: usize, count: usize) -> Vec<u32> {
        let mut out = vec![u32::MAX; count];
        tokens.copy_to(start, &mut out).unwrap();
        out
    }

    #[test]
    fn shards_read_as_one_sequence() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [
            write_shard(&folder.path().join("a.bin"), &[], &[0, 1, 2]),
            write_shard(&folder.path().join("b.bin"), &[20_240_520, 1, 4], &[3, 4, 5, 6]), // llm.c's header
            write_shard(&folder.path().join("c.bin"), &[], &[7]),
        ];
        let tokens = Tokens::Mapped(Shards::open(&paths, 8).unwrap());
        assert_eq!(tokens.len(), 8);
        for start in 0..=8 {
            for end in start..=8 {
                let expected: Vec<u32> = (start as u32..end as u32).collect();
                assert_eq!(read(&tokens, start, end - start), expected);
                let slice = tokens.slice(start..end);
                assert_eq!(read(&slice, 0, slice.len()), expected);
            }
        }
        let mut all = Vec::new();
        tokens.for_each(|id| all.push(id)).unwrap();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_named_when_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [
            write_shard(&folder.path().join("a.bin"), &[], &[1, 2]),
            write_shard(&folder.path().join("b.bin"), &[], &[3, 50256]),
        ];
        let tokens = Tokens::Mapped(Shards::open(&paths, 4096).unwrap());
        assert_eq!(read(&tokens, 0, 3), [1, 2, 3]);
        let error = tokens.copy_to(1, &mut [0; 3]).unwrap_err().to_string();
        assert!(error.contains("b.bin holds id 50256 at position 1, but model.vocab_size is 4096"), "{error}");
        let error = Tokens::Owned(vec![1, 9]).check_ids(9).unwrap_err().to_string();
        assert!(error.contains("id 9 at position 1, but model.vocab_size is 9"), "{error}");
        Tokens::Owned(vec![1, 8]).check_ids(9).unwrap();
    }

    #[test]
    fn files_that_are_no_shards_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        let error = Shards::open(std::slice::from_ref(&path), 8).unwrap_err().to_string();
        assert!(error.contains("x.bin is 3 bytes long"), "{error}");
        std::fs::write(&path, []).unwrap();
        assert!(Shards::open(&[path], 8).unwrap_err().to_string().ends_with("x.bin is empty"));
        let missing = Shards::open(&[folder.path().join("y.bin")], 8).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read ") && missing.contains("y.bin"), "{missing}");
    }

    #[test]
    fn wide_and_narrow_ids_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        let open = |vocab_size| Shards::open(std::slice::from_ref(&path), vocab_size);
        let read_all = |vocab_size| {
            let tokens = Tokens::Mapped(open(vocab_size).unwrap());
            read(&tokens, 0, tokens.len())
        };
        // Without a header: the ids determine the width.
        let ids: Vec<u32> = (0..50).map(|i| i * i % 47).collect();
        std::fs::write(&path, ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        assert_eq!((read_all(47), read_all(100_000)), (ids.clone(), ids.clone()));
        write_shard(&path, &[], &ids.iter().map(|id| *id as u16).collect::<Vec<_>>());
        assert_eq!((read_all(47), read_all(100_000)), (ids.clone(), ids));
        // With a header, which counts the ids.
        let large = [70_000, 1, 99_999];
        let mut writer = ShardWriter::new(folder.path(), "wide", 100_000, 2);
        writer.write(&large).unwrap();
        let (paths, count) = writer.finish().unwrap();
        assert_eq!((paths.len(), count), (2, 3));
        assert!(paths[1].ends_with("wide_000001.bin"));
        assert_eq!(read(&Tokens::Mapped(Shards::open(&paths, 100_000).unwrap()), 0, 3), large);
        write_shard(&path, &[20_240_520, 1, 3], &[1, 2]);
        let error = open(8).unwrap_err().to_string();
        assert!(error.contains("x.bin holds 2 token ids, but its header says 3: it was truncated"), "{error}");
        std::fs::write(&path, b"PK\x03\x04 data.pkl PK\x05\x06 the end").unwrap();
        assert!(open(8).unwrap_err().to_string().contains("x.bin is a ZIP archive, as PyTorch saves weights"));
    }
}
