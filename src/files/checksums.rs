//! The SHA-256 of every file of a folder, in the format of `sha256sum --check`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::atomic::write_atomic;
use crate::{Error, Result};

/// The checksum file of a folder: `cd FOLDER && sha256sum --check SHA256SUMS` verifies it by hand.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// Writes the checksums of all files of `folder`; skips subfolders and names that start with a dot.
pub fn write_checksums(folder: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !name.starts_with('.') && name != CHECKSUMS {
            names.push(name);
        }
    }
    names.sort();
    let mut lines = String::new();
    for name in names {
        lines += &format!("{}  {name}\n", file_sha256(&folder.join(&name))?);
    }
    write_atomic(&folder.join(CHECKSUMS), lines.as_bytes())
}

/// Verifies the files of `folder` whose names `wanted` accepts.
///
/// A folder without checksums, from another program, passes. Errors: a file was changed or is missing.
pub fn verify_checksums(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let path = folder.join(CHECKSUMS);
    let lines = match fs::read_to_string(&path) {
        Ok(lines) => lines,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(Error::checkpoint(&path, "is damaged: it is not text"));
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    for line in lines.lines() {
        let Some((expected, name)) = line.split_once("  ").filter(|(expected, _)| expected.len() == 64) else {
            return Err(Error::checkpoint(&path, format!("is damaged: {line:?} is not a line of `sha256sum`")));
        };
        if !wanted(name) {
            continue;
        }
        let file = folder.join(name);
        if !file.is_file() {
            return Err(Error::checkpoint(&file, format!("is missing, and {CHECKSUMS} lists it")));
        }
        let found = file_sha256(&file)?;
        if found != expected {
            let message = format!(
                "is damaged or was changed: its SHA-256 begins with {}, and {CHECKSUMS} has {}",
                &found[..8],
                &expected[..8]
            );
            return Err(Error::checkpoint(&file, message));
        }
    }
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal.
pub fn file_sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => hash.update(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// The SHA-256 of all weights of a model, in hexadecimal.
pub fn weights_sha256(weights: &[Vec<f32>]) -> String {
    let mut hash = Sha256::new();
    weights.iter().for_each(|values| hash.update(bytemuck::cast_slice::<f32, u8>(values)));
    hex(&hash.finalize())
}

/// A digest in hexadecimal.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(folder: &Path) -> String {
        verify_checksums(folder, |_| true).unwrap_err().to_string()
    }

    #[test]
    fn every_changed_bit_and_missing_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.bin", "b.bin"].map(|name| folder.path().join(name));
        fs::write(&a, [0, 1, 2]).unwrap();
        fs::write(&b, "").unwrap();
        verify_checksums(folder.path(), |_| true).unwrap(); // nothing to compare with yet
        write_checksums(folder.path()).unwrap();
        verify_checksums(folder.path(), |_| true).unwrap();
        for byte in 0..3 {
            for bit in 0..8 {
                let mut bytes = [0, 1, 2];
                bytes[byte] ^= 1 << bit;
                fs::write(&a, bytes).unwrap();
                assert!(message(folder.path()).contains("a.bin: is damaged or was changed"));
            }
        }
        verify_checksums(folder.path(), |name| name != "a.bin").unwrap();
        fs::write(&a, [0, 1, 2]).unwrap();
        fs::remove_file(&b).unwrap();
        assert!(message(folder.path()).contains("b.bin: is missing"));
        fs::write(folder.path().join(CHECKSUMS), "something else\n").unwrap();
        assert!(message(folder.path()).contains("is not a line of `sha256sum`"));
        fs::write(folder.path().join(CHECKSUMS), [0xff, 0xfe]).unwrap();
        assert!(message(folder.path()).contains("SHA256SUMS: is damaged"));
    }

    #[test]
    fn the_lines_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("abc"), "abc").unwrap();
        fs::write(folder.path().join(".lock"), "").unwrap();
        write_checksums(folder.path()).unwrap();
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\n";
        assert_eq!(fs::read_to_string(folder.path().join(CHECKSUMS)).unwrap(), expected);
    }
}
