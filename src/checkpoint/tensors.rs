//! Safetensors files: an eight-byte length, a JSON header, then the values of each tensor in turn.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::files;
use crate::{Error, Result};

/// Values with a name and a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name in the file; for parameters, Hugging Face's.
    pub name: String,
    /// Its dimensions; `values` are in row-major order.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// Writes tensors as float32, in order; atomically replaces an existing file.
///
/// # Panics
/// If a shape does not match its values, or two tensors have the same name.
pub fn write_tensors(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    let header = header(tensors).map_err(|message| Error::checkpoint(path, message))?;
    files::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|tensor| file.write_all(bytemuck::cast_slice(&tensor.values)))
    })
}

/// The bytes that [`write_tensors`] writes.
///
/// # Panics
/// As [`write_tensors`].
pub fn tensor_bytes(tensors: &[NamedTensor]) -> Result<Vec<u8>> {
    let header = header(tensors).map_err(|message| Error::checkpoint("safetensors", message))?;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    tensors.iter().for_each(|tensor| bytes.extend_from_slice(bytemuck::cast_slice(&tensor.values)));
    Ok(bytes)
}

/// Reads float32, float16, bfloat16 and float64 as float32, in file order.
pub fn read_tensors(path: &Path) -> Result<Vec<NamedTensor>> {
    let (mut file, metadata) = open(path)?;
    metadata.offset_keys().into_iter().map(|name| read_next(&mut file, &metadata, name, path)).collect()
}

/// The tensors of a file in memory, one by one, each with its own result; errors call the file `name`.
///
/// Errors: the header cannot be read, or does not match the file's length.
pub fn tensors_of_bytes(bytes: &[u8], name: &str) -> Result<Vec<Result<NamedTensor>>> {
    let (mut rest, path) = (bytes, Path::new(name));
    let metadata = read_header(&mut rest, bytes.len() as u64, path)?;
    let read = |name: String| {
        let (from, _) = metadata.info(&name).expect("the header's own name").data_offsets;
        read_next(&mut &rest[from..], &metadata, name, path)
    };
    Ok(metadata.offset_keys().into_iter().map(read).collect())
}

/// Reads one tensor: the one that `choose` picks from the names and shapes in file order.
///
/// # Panics
/// If the name is not among them.
pub fn read_tensor(path: &Path, choose: impl FnOnce(&[(String, Vec<usize>)]) -> Result<String>) -> Result<NamedTensor> {
    let (mut file, metadata) = open(path)?;
    let info = |name: &str| metadata.info(name).expect("the header's own name");
    let names = metadata.offset_keys().into_iter().map(|name| (name.clone(), info(&name).shape.clone()));
    let name = choose(&names.collect::<Vec<_>>())?;
    let start = info(&name).data_offsets.0 as i64;
    file.seek(SeekFrom::Current(start)).map_err(Error::io("read", path))?;
    read_next(&mut file, &metadata, name, path)
}

/// Opens the file past its header; returns both.
fn open(path: &Path) -> Result<(BufReader<File>, Metadata)> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let n_file_bytes = file.metadata().map_err(Error::io("read", path))?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
    let metadata = read_header(&mut file, n_file_bytes, path)?;
    Ok((file, metadata))
}

/// Larger headers are rejected by the safetensors library.
const LARGEST_HEADER_BYTES: u64 = 100_000_000;

// Values are written as they are in memory; the format is little-endian.
const _: () = assert!(cfg!(target_endian = "little"));

fn header(tensors: &[NamedTensor]) -> Result<Vec<u8>, String> {
    let mut end = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for NamedTensor { name, shape, values } in tensors {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}: values of shape {shape:?}");
        let start = end;
        end += size_of_val(values.as_slice());
        infos.push((name.clone(), TensorInfo { dtype: Dtype::F32, shape: shape.clone(), data_offsets: (start, end) }));
    }
    // transformers rejects a file without this entry.
    let format = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let metadata = Metadata::new(Some(format), infos).map_err(|e| e.to_string())?;
    assert_eq!(metadata.offset_keys().len(), tensors.len(), "two tensors of one name");
    let mut header = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn read_header(file: &mut impl Read, n_file_bytes: u64, path: &Path) -> Result<Metadata> {
    let wrong = |message: String| Error::checkpoint(path, message);
    let truncated = |wanted: u64, who: &str| {
        wrong(format!("holds {n_file_bytes} bytes, {who} requires {wanted}: the file is truncated"))
    };
    if n_file_bytes < 8 {
        return Err(truncated(8, "the length of its header alone"));
    }
    let mut n_header_bytes = [0; 8];
    file.read_exact(&mut n_header_bytes).map_err(Error::io("read", path))?;
    let n_header_bytes = u64::from_le_bytes(n_header_bytes);
    if n_header_bytes > LARGEST_HEADER_BYTES {
        return Err(wrong(format!("not a safetensors file: its header would be {n_header_bytes} bytes long")));
    }
    if 8 + n_header_bytes > n_file_bytes {
        return Err(truncated(8 + n_header_bytes, "its header alone"));
    }
    let mut header = vec![0; n_header_bytes as usize];
    file.read_exact(&mut header).map_err(Error::io("read", path))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| wrong(format!("not a safetensors file: its header cannot be read: {e}")))?;
    let n_wanted_bytes = 8 + n_header_bytes + metadata.data_len() as u64;
    if n_file_bytes < n_wanted_bytes {
        return Err(truncated(n_wanted_bytes, "its header"));
    }
    if n_file_bytes > n_wanted_bytes {
        return Err(wrong(format!(
            "holds {n_file_bytes} bytes, its header requires {n_wanted_bytes}: there are extra bytes"
        )));
    }
    Ok(metadata)
}

/// Reads the tensor `name`, whose values come next.
fn read_next(file: &mut impl Read, metadata: &Metadata, name: String, path: &Path) -> Result<NamedTensor> {
    let info = metadata.info(&name).expect("the header's own name");
    // The header has been checked against the file's length, so a wrong length cannot exhaust memory.
    let values = read_values(file, info).map_err(Error::io("read", path))?;
    let values = values.ok_or_else(|| {
        let message = format!("{name} is {}; only F32, F16, BF16 and F64 can be read", info.dtype);
        Error::checkpoint(path, message)
    })?;
    Ok(NamedTensor { shape: info.shape.clone(), name, values })
}

/// `None` for an unsupported type.
fn read_values(file: &mut impl Read, info: &TensorInfo) -> io::Result<Option<Vec<f32>>> {
    let n_values = info.shape.iter().product();
    match info.dtype {
        Dtype::F32 => decoded(file, n_values, f32::from_le_bytes),
        Dtype::F16 => decoded(file, n_values, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => decoded(file, n_values, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::F64 => decoded(file, n_values, |bytes| f64::from_le_bytes(bytes) as f32),
        _ => return Ok(None),
    }
    .map(Some)
}

/// Reads in pieces, so that the raw bytes are never all in memory next to the values.
fn decoded<const N: usize>(
    file: &mut impl Read,
    n_values: usize,
    decode: impl Fn([u8; N]) -> f32,
) -> io::Result<Vec<f32>> {
    let mut values = Vec::with_capacity(n_values);
    let mut piece = vec![[0; N]; n_values.min(1 << 16)];
    while values.len() < n_values {
        let n = piece.len().min(n_values - values.len());
        file.read_exact(piece[..n].as_flattened_mut())?;
        values.extend(piece[..n].iter().map(|&bytes| decode(bytes)));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tensor(name: &str, shape: &[usize], values: Vec<f32>) -> NamedTensor {
        NamedTensor { name: name.into(), shape: shape.to_vec(), values }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// A file with any header: the header with `tensors`, then `values`.
    fn raw(path: &Path, header: &str, values: &[u8]) {
        fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), values].concat()).unwrap();
    }

    #[test]
    fn every_bit_comes_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let odd = [0x7fc0_0001, 0xffc1_2345, 0x7f80_0000, 0x8000_0000, 1, 0x3f80_0000].map(f32::from_bits);
        // More than one piece of the reader.
        let many: Vec<f32> = (0..70_001).map(|i| i as f32).collect();
        let written = [
            tensor("z \"quoted\" ü", &[2, 3], odd.to_vec()),
            tensor("many", &[70_001], many),
            tensor("none", &[0, 7], vec![]),
            tensor("scalar", &[], vec![0.5]),
        ];
        write_tensors(&path, &written).unwrap();
        let read = read_tensors(&path).unwrap();
        assert_eq!(read.len(), written.len());
        for (read, written) in read.iter().zip(&written) {
            assert_eq!((&read.name, &read.shape), (&written.name, &written.shape));
            assert_eq!(bits(&read.values), bits(&written.values), "{}", written.name);
        }
    }

    #[test]
    fn others_read_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        write_tensors(&path, &[tensor("b", &[2], vec![1.0, 2.0]), tensor("a", &[1, 1], vec![3.0])]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let (n_header_bytes, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(n_header_bytes % 8, 0);
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("a").unwrap().data(), 3f32.to_le_bytes());
        assert_eq!((file.tensor("b").unwrap().shape(), file.tensor("b").unwrap().dtype()), (&[2][..], Dtype::F32));
        write_tensors(&path, &[]).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), []);
    }

    #[test]
    fn half_and_double_precision_become_f32() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let values = [1.5, -0.333_251_95, 65504.0, 6e-8];
        let halves: Vec<u8> = values.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect();
        let brains: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f64(v).to_le_bytes()).collect();
        let doubles: Vec<u8> = values.iter().flat_map(|&v| v.to_le_bytes()).collect();
        let header = r#"{"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},
            "b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]},
            "d":{"dtype":"F64","shape":[4],"data_offsets":[16,48]}}"#;
        raw(&path, header, &[halves, brains, doubles].concat());
        let read = read_tensors(&path).unwrap();
        let expected = [
            tensor("h", &[4], vec![1.5, -0.333_251_95, 65504.0, 5.960_464_5e-8]),
            tensor("b", &[2, 2], vec![1.5, -0.333_984_38, 65536.0, 6.007_030_6e-8]),
            tensor("d", &[4], values.map(|v| v as f32).to_vec()),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn every_truncation_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        write_tensors(&path, &[tensor("a", &[5, 5], vec![1.0; 25]), tensor("b", &[3], vec![2.0; 3])]).unwrap();
        let whole = fs::read(&path).unwrap();
        for n_bytes in 0..whole.len() {
            fs::write(&path, &whole[..n_bytes]).unwrap();
            let message = read_tensors(&path).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{}: holds {n_bytes} bytes,", path.display())), "{message}");
            assert!(message.ends_with("the file is truncated"), "{message}");
        }
        let wanted = format!("its header requires {}: the file is truncated", whole.len());
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(read_tensors(&path).unwrap_err().to_string().contains(&wanted));
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert!(read_tensors(&path).unwrap_err().to_string().ends_with("there are extra bytes"));
    }

    #[test]
    fn garbled_files_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let headers = [
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, "invalid offset for tensor `a`"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "invalid shape"),
            (r#"{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}"#, "overflow"),
            (r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#, "F33"),
            (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, "header cannot be read"),
            (r#"{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#, "a is I32; only F32"),
            ("[]", "header cannot be read"),
            ("\u{0}\u{0}", "header cannot be read"),
        ];
        for (header, expected) in headers {
            raw(&path, header, &[0; 4]);
            let message = read_tensors(&path).expect_err(header).to_string();
            assert!(message.contains(expected) && message.contains("a.safetensors"), "{header}: {message}");
        }
        fs::write(&path, "<!DOCTYPE html> not a model").unwrap();
        assert!(read_tensors(&path).unwrap_err().to_string().contains("not a safetensors file"));
        // Every single byte of a header changed in a few ways: an error or a readable file, never a panic.
        write_tensors(&path, &[tensor("a", &[2, 2], vec![1.0; 4])]).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() - 16 {
            for wrong in [0, b'9', b'"', 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = wrong;
                fs::write(&path, bytes).unwrap();
                let _ = read_tensors(&path);
            }
        }
        let message = read_tensors(&dir.path().join("none")).unwrap_err().to_string();
        assert!(message.starts_with("cannot read"), "{message}");
    }

    #[test]
    #[should_panic(expected = "two tensors of one name")]
    fn two_tensors_of_one_name_are_a_bug() {
        let a = tensor("a", &[1], vec![1.0]);
        let _ = write_tensors(Path::new("/nowhere/a.safetensors"), &[a.clone(), a]);
    }

    #[test]
    #[should_panic(expected = "a: values of shape [2, 3]")]
    fn a_shape_that_its_values_do_not_fill_is_a_bug() {
        let _ = write_tensors(Path::new("/nowhere/a.safetensors"), &[tensor("a", &[2, 3], vec![1.0; 5])]);
    }
}
