//! Data files of R packages: `Rdata.rdx`, an index, and `Rdata.rdb`, compressed objects.
//!
//! Format: "R Internals", section 1.8 (XDR serialization), and R's `makeLazyLoad.R`. A record of the .rdb is a
//! big-endian u32, the inflated length, and a zlib stream.

use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};

use crate::{Error, Result};

/// Every character vector of the database with its name: the lines of a text.
pub(super) fn character_vectors(rdx: &[u8], rdb: &[u8]) -> Result<Vec<(String, Vec<String>)>> {
    let mut index = Vec::new();
    GzDecoder::new(rdx).read_to_end(&mut index).map_err(|e| broken(format!("its index does not inflate: {e}")))?;
    let index = deserialize(&index)?;
    if index.get("compressed").and_then(Value::integers) != Some(&[1]) {
        return Err(broken("its records are not compressed with zlib".into()));
    }
    let Some(Value::List(variables)) = index.get("variables") else {
        return Err(broken("its index names no variables".into()));
    };
    let mut vectors = Vec::new();
    for (name, place) in variables {
        if let Value::Strings(lines) = deserialize(&record(rdb, name, place)?)? {
            vectors.push((name.clone(), lines));
        }
    }
    Ok(vectors)
}

fn record(rdb: &[u8], name: &str, place: &Value) -> Result<Vec<u8>> {
    let Some(&[offset, length]) = place.integers() else {
        return Err(broken(format!("the place of {name} is not an offset and a length")));
    };
    let (offset, length) = (offset as usize, length as usize);
    let bytes = rdb.get(offset..offset.saturating_add(length)).filter(|bytes| bytes.len() > 4);
    let bytes = bytes.ok_or_else(|| broken(format!("{name} lies outside its {} bytes", rdb.len())))?;
    let inflated_length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let mut inflated = Vec::new();
    ZlibDecoder::new(&bytes[4..]).read_to_end(&mut inflated).map_err(|e| broken(format!("{name}: {e}")))?;
    if inflated.len() != inflated_length {
        return Err(broken(format!("{name} inflates to {} bytes, not {inflated_length}", inflated.len())));
    }
    Ok(inflated)
}

/// The R values that an index and a text consist of.
#[derive(Debug, PartialEq)]
enum Value {
    Null,
    Integers(Vec<i32>),
    Strings(Vec<String>),
    /// Elements with their `names` attribute; unnamed elements have an empty name.
    List(Vec<(String, Value)>),
}

impl Value {
    fn get(&self, name: &str) -> Option<&Value> {
        let Value::List(elements) = self else { return None };
        elements.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn integers(&self) -> Option<&[i32]> {
        let Value::Integers(values) = self else { return None };
        Some(values)
    }
}

fn deserialize(bytes: &[u8]) -> Result<Value> {
    let mut reader = Reader { bytes, symbols: Vec::new() };
    if reader.take(2)? != b"X\n" {
        return Err(broken("an object is not in R's XDR serialization".into()));
    }
    let version = reader.u32()?;
    reader.take(8)?; // the versions of R that wrote it and that can read it
    if version == 3 {
        let length = reader.length()?; // the writer's native encoding
        reader.take(length)?;
    }
    reader.value()
}

struct Reader<'a> {
    bytes: &'a [u8],
    symbols: Vec<String>,
}

// Type codes of Rinternals.h and serialize.c.
const SYMBOL: u32 = 1;
const PAIRLIST: u32 = 2;
const STRING: u32 = 9;
const LOGICALS: u32 = 10;
const INTEGERS: u32 = 13;
const STRINGS: u32 = 16;
const LIST: u32 = 19;
const NULL: u32 = 254;
const REFERENCE: u32 = 255;
const HAS_ATTRIBUTES: u32 = 1 << 9;
const HAS_TAG: u32 = 1 << 10;
const LATIN1: u32 = 1 << (12 + 2);

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value> {
        let flags = self.u32()?;
        let mut value = match flags & 0xff {
            NULL => Value::Null,
            PAIRLIST => return self.pairlist(flags),
            LOGICALS | INTEGERS => {
                let count = self.length()?;
                Value::Integers((0..count).map(|_| Ok(self.u32()? as i32)).collect::<Result<_>>()?)
            }
            STRINGS => {
                let count = self.length()?;
                Value::Strings((0..count).map(|_| self.string()).collect::<Result<_>>()?)
            }
            LIST => {
                let count = self.length()?;
                Value::List((0..count).map(|_| Ok((String::new(), self.value()?))).collect::<Result<_>>()?)
            }
            other => return Err(broken(format!("it holds an R object of type {other}, not text"))),
        };
        if flags & HAS_ATTRIBUTES != 0 {
            let attributes = self.value()?;
            if let (Value::List(elements), Some(Value::Strings(names))) = (&mut value, attributes.get("names")) {
                for ((key, _), name) in elements.iter_mut().zip(names) {
                    key.clone_from(name);
                }
            }
        }
        Ok(value)
    }

    /// A linked list of tagged values; the flags of its first cell have already been read.
    fn pairlist(&mut self, mut flags: u32) -> Result<Value> {
        let mut elements = Vec::new();
        loop {
            if flags & HAS_ATTRIBUTES != 0 {
                self.value()?;
            }
            let tag = if flags & HAS_TAG != 0 { self.symbol()? } else { String::new() };
            elements.push((tag, self.value()?));
            flags = self.u32()?;
            if flags & 0xff != PAIRLIST {
                break;
            }
        }
        if flags & 0xff == NULL { Ok(Value::List(elements)) } else { Err(broken("a pairlist has no end".into())) }
    }

    fn symbol(&mut self) -> Result<String> {
        let flags = self.u32()?;
        match flags & 0xff {
            SYMBOL => {
                let name = self.string()?;
                self.symbols.push(name.clone());
                Ok(name)
            }
            REFERENCE => {
                let index = if flags >> 8 == 0 { self.u32()? } else { flags >> 8 };
                let name = (index as usize).checked_sub(1).and_then(|at| self.symbols.get(at));
                name.cloned().ok_or_else(|| broken(format!("it refers to symbol {index} before naming it")))
            }
            other => Err(broken(format!("a tag is of type {other}, not a symbol"))),
        }
    }

    fn string(&mut self) -> Result<String> {
        let flags = self.u32()?;
        if flags & 0xff != STRING {
            return Err(broken(format!("a string is of type {}", flags & 0xff)));
        }
        let length = self.u32()?;
        if length == u32::MAX {
            return Ok(String::new()); // NA
        }
        let bytes = self.take(length as usize)?;
        if flags & LATIN1 != 0 {
            return Ok(bytes.iter().map(|byte| char::from(*byte)).collect());
        }
        String::from_utf8(bytes.to_vec()).map_err(|e| broken(format!("a line is not UTF-8: {e}")))
    }

    fn length(&mut self) -> Result<usize> {
        let length = self.u32()? as usize;
        // Every element takes at least a byte: a truncated file must not make us allocate gigabytes.
        if length > self.bytes.len() { Err(torn()) } else { Ok(length) }
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(torn)?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn torn() -> Error {
    broken("an object ends in the middle".into())
}

fn broken(what: String) -> Error {
    Error::Data(format!("this R data file cannot be decoded: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};

    use super::*;

    const HEADER: &[u8] = b"X\n\0\0\0\x03\0\x04\x02\x01\0\x03\x05\0\0\0\0\x05UTF-8";

    fn word(value: u32) -> Vec<u8> {
        value.to_be_bytes().to_vec()
    }

    fn string(text: &[u8], encoding: u32) -> Vec<u8> {
        [word(encoding << 12 | STRING), word(text.len() as u32), text.to_vec()].concat()
    }

    fn strings(lines: &[&str]) -> Vec<u8> {
        let elements: Vec<u8> = lines.iter().flat_map(|line| string(line.as_bytes(), 8)).collect();
        [word(STRINGS), word(lines.len() as u32), elements].concat()
    }

    fn integers(values: &[u32]) -> Vec<u8> {
        [word(INTEGERS), word(values.len() as u32), values.iter().flat_map(|v| word(*v)).collect()].concat()
    }

    /// `names` as R writes it: the symbol the first time, then references.
    fn named_list(elements: &[(&str, Vec<u8>)], first: bool) -> Vec<u8> {
        let names: Vec<&str> = elements.iter().map(|(name, _)| *name).collect();
        let values: Vec<u8> = elements.iter().flat_map(|(_, value)| value.clone()).collect();
        let tag = if first { [word(SYMBOL), string(b"names", 64)].concat() } else { word(1 << 8 | REFERENCE) };
        let attributes = [word(PAIRLIST | HAS_TAG), tag, strings(&names), word(NULL)].concat();
        [word(LIST | HAS_ATTRIBUTES), word(elements.len() as u32), values, attributes].concat()
    }

    fn database(objects: &[(&str, Vec<u8>)]) -> (Vec<u8>, Vec<u8>) {
        let mut rdb = Vec::new();
        let mut places = Vec::new();
        for (name, object) in objects {
            let object = [HEADER, object].concat();
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
            zlib.write_all(&object).unwrap();
            let record = [word(object.len() as u32), zlib.finish().unwrap()].concat();
            places.push((*name, integers(&[rdb.len() as u32, record.len() as u32])));
            rdb.extend(record);
        }
        let variables = named_list(&places, true);
        let index = named_list(&[("variables", variables), ("compressed", integers(&[1]))], false);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&[HEADER, &index].concat()).unwrap();
        (gzip.finish().unwrap(), rdb)
    }

    #[test]
    fn lines_come_back_under_their_names() {
        let (rdx, rdb) = database(&[
            ("emma", strings(&["EMMA", "", "naïve — “yes”"])),
            ("numbers", integers(&[1, 2])),
            ("persuasion", strings(&["Sir Walter"])),
        ]);
        let vectors = character_vectors(&rdx, &rdb).unwrap();
        assert_eq!(vectors.len(), 2, "a vector of numbers is no text");
        assert_eq!(vectors[0], ("emma".into(), vec!["EMMA".into(), String::new(), "naïve — “yes”".into()]));
        assert_eq!(vectors[1], ("persuasion".into(), vec!["Sir Walter".into()]));
    }

    #[test]
    fn latin1_and_missing_strings() {
        let missing = [word(STRING), word(u32::MAX)].concat();
        let object = [HEADER, &word(STRINGS), &word(2), &string(b"caf\xe9", 4), &missing].concat();
        assert_eq!(deserialize(&object).unwrap(), Value::Strings(vec!["café".into(), String::new()]));
    }

    #[test]
    fn torn_or_foreign_files_are_errors() {
        let (rdx, rdb) = database(&[("emma", strings(&["EMMA"]))]);
        let error = character_vectors(&rdx, &rdb[..rdb.len() - 1]).unwrap_err().to_string();
        assert!(error.contains("emma lies outside its"), "{error}");
        let error = character_vectors(b"not gzip", &rdb).unwrap_err().to_string();
        assert!(error.contains("index does not inflate"), "{error}");
        let error = deserialize(&[HEADER, &word(STRINGS), &word(1 << 30)].concat()).unwrap_err().to_string();
        assert!(error.contains("ends in the middle"), "{error}");
        let error = deserialize(&[HEADER, &word(3)].concat()).unwrap_err().to_string();
        assert!(error.contains("R object of type 3"), "{error}");
    }
}
