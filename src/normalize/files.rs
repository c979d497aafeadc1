//! Matrices in safetensors files and in NumPy's format.

use std::io;
use std::path::Path;

use half::f16;

use super::Matrix;
use crate::checkpoint::{NamedTensor, read_tensor, write_tensors};
use crate::data::npy::{NpyFile, npy_bytes};
use crate::files::write_atomic;
use crate::{Error, Result};

/// The format of a matrix file, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Npy,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "safetensors" => Some(Self::Safetensors),
            "npy" => Some(Self::Npy),
            _ => None,
        }
    }
}

/// Reads a tensor of a safetensors file, or the array of a .npy file, of any floating-point type.
///
/// `tensor` may be omitted if a safetensors file has only one matrix, or only one tensor. Errors: the file cannot be
/// read or is truncated, has another type, or does not have the tensor; see also [`Matrix::new`].
pub fn read_matrix(path: &Path, tensor: Option<&str>) -> Result<Matrix> {
    let NamedTensor { name, shape, values } = match (Format::of(path), tensor) {
        (Some(Format::Safetensors), _) => read_tensor(path, |tensors| choose(path, tensors, tensor))?,
        (Some(Format::Npy), None) => read_npy(path)?,
        (Some(Format::Npy), Some(_)) => {
            return Err(Error::config("--tensor", format!("{} holds one array and no names", path.display())));
        }
        (None, _) => return Err(unknown_format("FILE", path)),
    };
    let name = if name.is_empty() { path.display().to_string() } else { format!("{}: {name}", path.display()) };
    Matrix::new(name, &shape, values)
}

/// Writes x `[m, n]` as float32 to .npy, or as the tensor `normalized` of a .safetensors file; atomic.
pub fn write_matrix(path: &Path, shape: [usize; 2], x: &[f32]) -> Result<()> {
    match Format::of(path) {
        Some(Format::Npy) => {
            write_atomic(path, &npy_bytes("<f4", &shape, x.iter().flat_map(|value| value.to_le_bytes())))
        }
        Some(Format::Safetensors) => {
            let tensor = NamedTensor { name: "normalized".into(), shape: shape.into(), values: x.to_vec() };
            write_tensors(path, &[tensor])
        }
        None => Err(unknown_format("--out", path)),
    }
}

/// Rejects early what [`write_matrix`] would reject: an unknown extension, a missing folder.
pub fn check_out(path: &Path) -> Result<()> {
    if Format::of(path).is_none() {
        return Err(unknown_format("--out", path));
    }
    check_folder(path)
}

/// Rejects a path whose folder does not exist.
pub fn check_folder(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.filter(|parent| !parent.is_dir()) {
        None => Ok(()),
        Some(parent) => {
            let message = format!("there is no directory {}: create it, or choose another", parent.display());
            Err(Error::io("write", path)(io::Error::new(io::ErrorKind::NotFound, message)))
        }
    }
}

fn unknown_format(key: &str, path: &Path) -> Error {
    Error::config(key, format!("{} ends neither in .safetensors nor in .npy", path.display()))
}

/// The requested tensor.
fn choose(path: &Path, tensors: &[(String, Vec<usize>)], wanted: Option<&str>) -> Result<String> {
    if let Some(wanted) = wanted {
        let found = tensors.iter().find(|(name, _)| name == wanted);
        return found.map(|(name, _)| name.clone()).ok_or_else(|| no_such_tensor(path, tensors, wanted));
    }
    let matrices: Vec<_> = tensors.iter().filter(|(_, shape)| shape.len() == 2).collect();
    match (&matrices[..], tensors) {
        ([(name, _)], _) | ([], [(name, _)]) => Ok(name.clone()),
        _ => {
            let list = listed(matrices.iter().copied());
            let message = format!("{} holds {} matrices, so one must be named: {list}", path.display(), matrices.len());
            Err(Error::config("--tensor", message))
        }
    }
}

fn no_such_tensor(path: &Path, tensors: &[(String, Vec<usize>)], wanted: &str) -> Error {
    let likeness = |name: &str| strsim::jaro_winkler(wanted, name);
    let nearest = tensors.iter().map(|(name, _)| name).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = nearest.map_or(String::new(), |nearest| format!("did you mean `{nearest}`? "));
    let list = listed(tensors.iter());
    Error::config("--tensor", format!("{} has no tensor `{wanted}`; {hint}it holds {list}", path.display()))
}

/// `a [2, 3], b [4, 5]`; of a long list only the first.
fn listed<'a>(tensors: impl ExactSizeIterator<Item = &'a (String, Vec<usize>)>) -> String {
    const MOST: usize = 20;
    let n_more = tensors.len().saturating_sub(MOST);
    let mut names: Vec<String> = tensors.take(MOST).map(|(name, shape)| format!("{name} {shape:?}")).collect();
    if n_more > 0 {
        names.push(format!("and {n_more} more"));
    }
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The array of a .npy file, with an empty name.
fn read_npy(path: &Path) -> Result<NamedTensor> {
    let file = NpyFile::open(path)?;
    let (shape, is_fortran_order) = (file.shape().to_vec(), file.is_fortran_order());
    let values = match file.kind() {
        "f2" => file.values(|bytes| f16::from_le_bytes(bytes).to_f32())?,
        "f4" => file.values(f32::from_le_bytes)?,
        "f8" => file.values(|bytes| f64::from_le_bytes(bytes) as f32)?,
        _ => {
            let message = format!("holds '{}'; passes need float16, float32 or float64", file.descr());
            return Err(Error::checkpoint(path, message));
        }
    };
    let values = if is_fortran_order { from_column_order(&values, &shape) } else { values };
    Ok(NamedTensor { name: String::new(), shape, values })
}

/// Converts column-major to row-major order; with at most one dimension they are the same.
fn from_column_order(values: &[f32], shape: &[usize]) -> Vec<f32> {
    match *shape {
        [m, n] => (0..m * n).map(|at| values[at % n * m + at / n]).collect(),
        _ => values.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A .npy file of version 1 with this header and these bytes.
    fn write(path: &Path, dictionary: &str, bytes: &[u8]) {
        let header = format!("{dictionary:<117}\n"); // a multiple of 64 with the 10 bytes before it
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.bytes());
        file.extend(bytes);
        fs::write(path, file).unwrap();
    }

    fn dictionary(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}")
    }

    #[test]
    fn numpy_arrays_of_every_float_and_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let values = [1.5, -0.25, 3.0, 4.0, 5.0, 6.0];
        let cases: [(&str, Vec<u8>); 5] = [
            ("<f2", values.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect()),
            ("<f4", values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect()),
            (">f4", values.iter().flat_map(|&v| (v as f32).to_be_bytes()).collect()),
            ("<f8", values.iter().flat_map(|&v| v.to_le_bytes()).collect()),
            (">f8", values.iter().flat_map(|&v| v.to_be_bytes()).collect()),
        ];
        for (descr, bytes) in &cases {
            write(&path, &dictionary(descr, "False", "(2, 3)"), bytes);
            let matrix = read_matrix(&path, None).unwrap();
            assert_eq!((matrix.shape(), matrix.values()), ([2, 3], &values.map(|v| v as f32)[..]), "{descr}");
            write(&path, &dictionary(descr, "True", "(2, 3)"), bytes);
            assert_eq!(read_matrix(&path, None).unwrap().values(), [1.5, 3.0, 5.0, -0.25, 4.0, 6.0], "{descr}");
            write(&path, &dictionary(descr, "False", "(6,)"), bytes);
            assert_eq!(read_matrix(&path, None).unwrap().shape(), [1, 6], "{descr}");
        }
    }

    #[test]
    fn what_is_no_array_of_floats_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let told = || read_matrix(&path, None).unwrap_err().to_string();
        for n_bytes in [0, 5, 23] {
            write(&path, &dictionary("<f4", "False", "(2, 3)"), &vec![0; n_bytes]);
            let expected =
                format!("a.npy: holds {} bytes, its header requires 152: the file is truncated", 128 + n_bytes);
            assert!(told().ends_with(&expected), "{}", told());
        }
        write(&path, &dictionary("<f4", "False", "(2, 3)"), &[0; 25]);
        assert!(told().ends_with("requires 152: there are extra bytes"), "{}", told());
        write(&path, &dictionary("<f4", "False", "(4294967296, 4294967296)"), &[0; 24]);
        assert!(told().ends_with("more elements than can be counted: the file is corrupt"), "{}", told());
        write(&path, &dictionary("<f4", "False", "(8388608, 4294967296)"), &[0; 24]);
        assert!(told().ends_with("requires 144115188075856000: the file is truncated"), "{}", told());
        write(&path, &dictionary("<i4", "False", "(2, 3)"), &[0; 24]);
        assert!(told().contains("holds '<i4'; passes need float16, float32 or float64"), "{}", told());
        write(&path, &dictionary("<f8", "False", "(1, 1)"), &1e300f64.to_le_bytes());
        assert!(told().contains("holds inf at row 0, column 0"), "{}", told());
        fs::write(&path, b"\x93NUMPY\x01").unwrap();
        assert!(told().contains("a truncated header"), "{}", told());
        fs::write(&path, b"not an array at all").unwrap();
        assert!(told().contains("not a NumPy file"), "{}", told());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let x = [1.0, -2.5, 1e-30, 4.0, f32::MIN_POSITIVE, 6.0];
        for name in ["x.npy", "x.safetensors"] {
            let path = dir.path().join(name);
            write_matrix(&path, [3, 2], &x).unwrap();
            let matrix = read_matrix(&path, None).unwrap();
            assert_eq!((matrix.shape(), matrix.values()), ([3, 2], &x[..]), "{name}");
        }
        let message = write_matrix(&dir.path().join("x.txt"), [3, 2], &x).unwrap_err().to_string();
        assert!(message.ends_with("x.txt ends neither in .safetensors nor in .npy"), "{message}");
    }
}
