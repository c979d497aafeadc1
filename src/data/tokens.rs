//! Token ids in memory, or mapped from `.bin` shards that may be larger than memory.

use std::ops::Range;

use crate::{Error, Result};

#[cfg(not(target_arch = "wasm32"))]
pub use shards::{Shards, from_npy};

/// A sequence of token ids.
#[derive(Debug, Clone)]
pub enum Tokens {
    /// In memory.
    Owned(Vec<u32>),
    /// u16 files on disk, one after the other.
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(Shards),
}

impl Tokens {
    /// How many ids.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(ids) => ids.len(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(shards) => shards.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the ids from `start` on into `out`.
    ///
    /// # Errors
    /// A shard holds an id outside the vocabulary; shards are checked here and not when opened, for they are large.
    ///
    /// # Panics
    /// `start + out.len()` is past the end.
    pub fn copy_to(&self, start: usize, out: &mut [u32]) -> Result<()> {
        let (end, len) = (start + out.len(), self.len());
        assert!(end <= len, "tokens {start}..{end} of {len}");
        match self {
            Self::Owned(ids) => out.copy_from_slice(&ids[start..end]),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(shards) => shards.copy_to(start, out)?,
        }
        Ok(())
    }

    /// The ids of a range as tokens of their own; shards stay mapped.
    ///
    /// # Panics
    /// The range is past the end.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "tokens {range:?} of {}", self.len());
        match self {
            Self::Owned(ids) => Self::Owned(ids[range].to_vec()),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(shards) => Self::Mapped(shards.slice(range)),
        }
    }

    /// Calls `visit` with every id.
    pub(super) fn for_each(&self, mut visit: impl FnMut(u32)) -> Result<()> {
        self.for_each_piece(|piece| piece.iter().for_each(|id| visit(*id)))
    }

    /// Calls `visit` with all ids in their order, in pieces of bounded size.
    pub(super) fn for_each_piece(&self, mut visit: impl FnMut(&[u32])) -> Result<()> {
        let mut piece = vec![0; self.len().min(1 << 16)];
        let mut start = 0;
        while start < self.len() {
            let count = piece.len().min(self.len() - start);
            self.copy_to(start, &mut piece[..count])?;
            visit(&piece[..count]);
            start += count;
        }
        Ok(())
    }

    /// Reads everything and checks that every id is below `vocab_size`.
    ///
    /// # Errors
    /// Names the first id that is not, and where it stands.
    pub fn check_ids(&self, vocab_size: usize) -> Result<()> {
        let (mut position, mut wrong) = (0, None);
        self.for_each(|id| {
            if wrong.is_none() && id as usize >= vocab_size {
                wrong = Some((id, position));
            }
            position += 1;
        })?;
        match wrong {
            None => Ok(()),
            Some((id, at)) => Err(id_too_large("the tokens hold", id, at, vocab_size)),
        }
    }
}

fn id_too_large(who: &str, id: u32, position: usize, vocab_size: usize) -> Error {
    Error::Data(format!(
        "{who} id {id} at position {position}, but model.vocab_size is {vocab_size}: \
         these ids were made with a larger vocabulary; set model.vocab_size to its size"
    ))
}

#[cfg(not(target_arch = "wasm32"))]
mod shards {
    use std::fs::File;
    use std::io::BufReader;
    use std::ops::Range;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use memmap2::Mmap;
    use npyz::{DType, NpyFile, TypeChar};

    use super::{Tokens, id_too_large};
    use crate::{Error, Result};

    /// Memory-mapped `.bin` files of little-endian u16, as nanoGPT and llm.c write them, read as one sequence.
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
        /// Bytes before the file's first id: llm.c writes a header, nanoGPT none.
        header_bytes: usize,
        /// Which of the file's ids.
        ids: Range<usize>,
        /// The position in the whole sequence of the first of `ids`.
        start: usize,
    }

    impl Shards {
        /// Maps `paths` in the given order; reading fails on ids that are not below `vocab_size`.
        ///
        /// # Errors
        /// A file that cannot be mapped or does not hold whole u16.
        pub fn open(paths: &[PathBuf], vocab_size: usize) -> Result<Self> {
            let parts = paths.iter().map(|path| Part::open(path)).collect::<Result<_>>()?;
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
        fn open(path: &Path) -> Result<Self> {
            let file = File::open(path).map_err(Error::io("read", path))?;
            let n_bytes = file.metadata().map_err(Error::io("read", path))?.len();
            if n_bytes == 0 {
                return Err(Error::Data(format!("{} is empty", path.display())));
            }
            let map = map(&file).map_err(Error::io("map", path))?;
            let header_bytes = header_bytes(&map);
            if !(map.len() - header_bytes).is_multiple_of(2) {
                let message = format!("{} is {n_bytes} bytes long, which is no whole number of u16", path.display());
                return Err(Error::Data(message));
            }
            let count = (map.len() - header_bytes) / 2;
            Ok(Self { path: path.to_owned(), map: Arc::new(map), header_bytes, ids: 0..count, start: 0 })
        }

        fn copy_to(&self, first: usize, out: &mut [u32], vocab_size: usize) -> Result<()> {
            let bytes = &self.map[self.header_bytes + 2 * first..][..2 * out.len()];
            for (i, (id, pair)) in out.iter_mut().zip(bytes.chunks_exact(2)).enumerate() {
                *id = u32::from(u16::from_le_bytes([pair[0], pair[1]]));
                if *id as usize >= vocab_size {
                    return Err(id_too_large(&format!("{} holds", self.path.display()), *id, first + i, vocab_size));
                }
            }
            Ok(())
        }
    }

    #[expect(unsafe_code, reason = "mapping a file has no safe form: another program may change it while we read")]
    fn map(file: &File) -> std::io::Result<Mmap> {
        // SAFETY: any bytes are valid u16, so that a file changed under us gives other ids, never undefined values;
        // one that is cut short ends the program with SIGBUS, as in every reader of such shards.
        unsafe { Mmap::map(file) }
    }

    /// llm.c's header is 256 i32: its magic number, version 1, the count of ids.
    fn header_bytes(bytes: &[u8]) -> usize {
        const MAGIC: i32 = 20_240_520;
        const HEADER_BYTES: usize = 1024;
        let field = |at: usize| {
            let bytes = bytes.get(4 * at..4 * at + 4)?;
            Some(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let count = bytes.len().saturating_sub(HEADER_BYTES) / 2;
        let is_header = field(0) == Some(MAGIC) && field(1) == Some(1) && field(2) == i32::try_from(count).ok();
        if is_header { HEADER_BYTES } else { 0 }
    }

    /// Token ids of a NumPy file: one dimension of u16, u32, i32 or i64.
    ///
    /// # Errors
    /// A file that cannot be read, another shape or type, a negative or too large id.
    pub fn from_npy(path: &Path) -> Result<Tokens> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let npy = NpyFile::new(BufReader::new(file)).map_err(Error::io("read", path))?;
        if npy.shape().len() != 1 {
            let message =
                format!("{} has shape {:?}; token ids are one row: tokens.reshape(-1)", path.display(), npy.shape());
            return Err(Error::Data(message));
        }
        let kind = match npy.dtype() {
            DType::Plain(plain) => Some((plain.type_char(), plain.size_field())),
            _ => None,
        };
        let read = Error::io("read", path);
        let ids: Vec<i64> = match kind {
            Some((TypeChar::Uint, 2)) => widen(npy.into_vec::<u16>().map_err(read)?),
            Some((TypeChar::Uint, 4)) => widen(npy.into_vec::<u32>().map_err(read)?),
            Some((TypeChar::Int, 4)) => widen(npy.into_vec::<i32>().map_err(read)?),
            Some((TypeChar::Int, 8)) => npy.into_vec::<i64>().map_err(read)?,
            _ => {
                let descr = npy.dtype().descr();
                let message = format!("{} holds {descr}; token ids are uint16, uint32, int32 or int64", path.display());
                return Err(Error::Data(message));
            }
        };
        let narrow = |(at, id): (usize, &i64)| {
            u32::try_from(*id)
                .map_err(|_| Error::Data(format!("{}: {id} at position {at} is no token id", path.display())))
        };
        Ok(Tokens::Owned(ids.iter().enumerate().map(narrow).collect::<Result<_>>()?))
    }

    fn widen<T: Into<i64>>(values: Vec<T>) -> Vec<i64> {
        values.into_iter().map(Into::into).collect()
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::path::{Path, PathBuf};

    use npyz::WriterBuilder;

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

    fn write_npy<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
        let file = std::fs::File::create(path).unwrap();
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn numpy_files_of_every_integer_type() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npy");
        let check = |largest: u32| {
            let tokens = from_npy(&path).unwrap();
            assert_eq!(read(&tokens, 0, 2), [7, largest]);
        };
        write_npy(&path, &[2], &[7u16, 65535]);
        check(65535);
        write_npy(&path, &[2], &[7u32, 100_000]);
        check(100_000);
        write_npy(&path, &[2], &[7i32, 100_000]);
        check(100_000);
        write_npy(&path, &[2], &[7i64, 100_000]);
        check(100_000);
    }

    #[test]
    fn numpy_files_of_something_else_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npy");
        let message = || from_npy(&path).unwrap_err().to_string();
        write_npy(&path, &[2], &[0.5f32, 1.0]);
        assert!(message().contains("token ids are uint16, uint32, int32 or int64"), "{}", message());
        write_npy(&path, &[1, 2], &[1i64, 2]);
        assert!(message().contains("has shape [1, 2]"), "{}", message());
        write_npy(&path, &[2], &[1i64, -2]);
        assert!(message().contains("-2 at position 1 is no token id"), "{}", message());
        std::fs::write(&path, "text").unwrap();
        assert!(message().starts_with("cannot read "), "{}", message());
    }
}
