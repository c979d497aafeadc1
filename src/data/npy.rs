//! Token ids in NumPy's format.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use npyz::{DType, NpyFile, TypeChar};

use super::tokens::Tokens;
use crate::{Error, Result};

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
        u32::try_from(*id).map_err(|_| Error::Data(format!("{}: {id} at position {at} is no token id", path.display())))
    };
    Ok(Tokens::Owned(ids.iter().enumerate().map(narrow).collect::<Result<_>>()?))
}

fn widen<T: Into<i64>>(values: Vec<T>) -> Vec<i64> {
    values.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use npyz::WriterBuilder;

    use super::*;

    fn read(tokens: &Tokens, start: usize, count: usize) -> Vec<u32> {
        let mut out = vec![u32::MAX; count];
        tokens.copy_to(start, &mut out).unwrap();
        out
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
