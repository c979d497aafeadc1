//! Translates WGSL with cooperative matrices to WGSL without them.
//!
//! A subgroup is 32 consecutive lanes.
//! Its lane l holds rows 2⌊l/4⌋ and 2⌊l/4⌋ + 1 of every 16×16 sum, and in each row the four columns starting at
//! 4(l mod 4): a `mat2x4<f32>`, which is added and scaled like the sum itself.
//! An operand is represented by the place it was loaded from, as long as no barrier lets other lanes write there.
//! Otherwise each lane holds the numbers needed for its part of a product.
//! Lanes only wait for each other where the kernel says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;

use super::functions::{Array, Form, MULTIPLY_ADD, PRELUDE, type_of, write_operand};

#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    at: usize,
}

/// A text being lowered.
struct Lowering<'a> {
    name: &'a str,
    text: &'a str,
    tokens: Vec<Token<'a>>,
    arrays: BTreeMap<&'a str, Array<'a>>,
    /// Byte ranges and their replacements.
    edits: Vec<(Range<usize>, String)>,
    /// The loads that occur, by role and array.
    loads: BTreeSet<(&'a str, &'a str)>,
    stores: BTreeSet<&'a str>,
    /// Functions in which lanes wait for each other.
    waiting: BTreeSet<&'a str>,
    /// Roles with an operand that may be used after its memory was overwritten.
    kept: BTreeSet<&'a str>,
}

/// Translates a kernel that uses cooperative matrices into one that does not; line numbers are preserved.
///
/// # Panics
/// On anything it does not understand, with the line.
pub fn lowered(name: &str, text: &str) -> String {
    let mut lowering = Lowering::of(name, text);
    lowering.matrices();
    lowering.entry_point();
    lowering.finish()
}

impl<'a> Lowering<'a> {
    fn of(name: &'a str, text: &'a str) -> Self {
        let (tokens, arrays) = (tokens(text), BTreeMap::new());
        let [stores, waiting, kept] = [(); 3].map(|()| BTreeSet::new());
        let (edits, loads) = (Vec::new(), BTreeSet::new());
        let mut lowering = Self { name, text, tokens, arrays, edits, loads, stores, waiting, kept };
        lowering.arrays = (0..lowering.tokens.len()).filter_map(|at| lowering.array(at)).collect();
        lowering.find_waiting();
        lowering
    }

    /// `var<workgroup> NAME: array<vec4<f16>, LEN>;` or `var<storage, read> NAME: array<f32>;`
    fn array(&self, at: usize) -> Option<(&'a str, Array<'a>)> {
        let ["var", "<", "workgroup" | "storage"] = self.words(at, 3)[..] else { return None };
        let begin = at + self.tokens[at..].iter().position(|token| token.text == ">")?;
        let [">", name, ":", "array", "<"] = self.words(begin, 5)[..] else { return None };
        let (scalar, width, after) = match self.words(begin + 5, 4)[..] {
            [scalar @ ("f16" | "f32"), ..] => (scalar, 1, begin + 6),
            ["vec4", "<", scalar @ ("f16" | "f32"), ">"] => (scalar, 4, begin + 9),
            ["vec4h", ..] => ("f16", 4, begin + 6),
            ["vec4f", ..] => ("f32", 4, begin + 6),
            _ => return None,
        };
        let end = after + self.tokens[after..].iter().position(|token| token.text == ";")?;
        let len = match self.tokens[after].text {
            "," => Some(&self.text[self.tokens[after + 1].at..self.tokens[end - 1].at]),
            _ => None,
        };
        let is_written = self.words(at + 3, 3) != [",", "read", ">"];
        Some((name, Array { scalar, width, len, is_written }))
    }

    fn matrices(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            at = match self.word(at) {
                "enable" if self.word(at + 1) == "wgpu_cooperative_matrix" => {
                    self.replace(at..at + 3, String::new());
                    at + 3
                }
                "coop_mat16x16" => {
                    let (of, after) = self.matrix(at);
                    self.replace(at..after, type_of(of).into());
                    after
                }
                "coopLoad" | "coopLoadT" => self.load(at),
                "coopStore" | "coopStoreT" => self.store(at),
                "coopMultiplyAdd" => {
                    self.replace(at..at + 1, "emulated_multiply_add".into());
                    at + 1
                }
                word if ["coop", "subgroup", "emulated", "Emulated"].iter().any(|known| word.starts_with(known)) => {
                    self.refuse(at, "there is no emulation of it")
                }
                _ => at + 1,
            }
        }
    }

    /// The role in `coop_mat16x16<f16, A>`, and the index after it.
    fn matrix(&self, at: usize) -> (&'a str, usize) {
        match self.words(at, 6)[..] {
            ["coop_mat16x16", "<", "f16", ",", role @ ("A" | "B"), ">"]
            | ["coop_mat16x16", "<", "f32", ",", role @ "C", ">"] => (role, at + 6),
            _ => self.refuse(at, "an operand is of f16, a sum of f32"),
        }
    }

    /// `coopLoad<coop_mat16x16<f32, C>>(&y[INDEX], STRIDE)`
    fn load(&mut self, at: usize) -> usize {
        if self.word(at + 1) != "<" {
            self.refuse(at, "a load names its type");
        }
        let (role, after) = self.matrix(at + 2);
        if self.words(after, 2) != [">", "("] {
            self.refuse(at, "a load has arguments");
        }
        let (place, stride) = match self.arguments(after + 1)[..] {
            [ref place, ref stride] => (place.clone(), Some(stride.clone())),
            [ref place] => (place.clone(), None),
            _ => self.refuse(at, "a load has one or two arguments"),
        };
        let name = self.place(&place);
        let wanted = if role == "C" { "f32" } else { "f16" };
        if self.arrays[name].scalar != wanted {
            self.refuse(at, &format!("{name} is no array of {wanted}"));
        }
        self.loads.insert((role, name));
        if role != "C" && self.arrays[name].is_written && self.outlives_its_memory(at) {
            self.kept.insert(role);
        }
        self.replace(at..place.start + 3, format!("emulated_load_{role}_{name}("));
        self.end_of_call(at, place.end, stride);
        place.start + 3 // an index contains no matrix, but it is checked for unsupported code too
    }

    /// Whether lanes may wait for each other between this load and the last use of the loaded operand.
    fn outlives_its_memory(&self, load: usize) -> bool {
        if self.is_factor(load) {
            return false;
        }
        let [before, name, "="] = self.words(load.saturating_sub(3), 3)[..] else { return true };
        if before == "let" {
            return self.is_kept_in(load, load, name);
        }
        // `NAME = LOAD` for a variable declared in an enclosing block: look from its declaration on.
        let declared = (0..load).rev().find(|&at| self.words(at, 3) == ["var", name, "="]);
        declared.is_none_or(|declared| self.is_kept_in(declared + 3, load, name))
    }

    /// Whether lanes may wait for each other between a load and the last use of its name in the block around `begin`,
    /// or the name is used other than as a factor.
    fn is_kept_in(&self, begin: usize, load: usize, name: &str) -> bool {
        let (mut depth, mut used, mut last) = (0, false, load);
        for at in begin..self.tokens.len() {
            match self.word(at) {
                "{" => depth += 1,
                "}" => depth -= 1,
                word if word == name && self.word(at + 1) == "=" => {}
                word if word == name => {
                    if !self.is_factor(at) {
                        return true;
                    }
                    used = true;
                }
                _ => {}
            }
            if depth < 0 {
                break;
            }
            if depth == 0 && used {
                (used, last) = (false, at); // an inner block may be a loop, so the whole block counts as a use
            }
        }
        (load..last).any(|at| self.is_wait(at))
    }

    /// Whether the word here is, or starts, an argument of a multiply-add.
    fn is_factor(&self, at: usize) -> bool {
        let mut depth = 0;
        let open = (0..at).rev().find(|&at| {
            depth += match self.word(at) {
                ")" | "]" | "}" => 1,
                "(" | "[" | "{" => -1,
                _ => 0,
            };
            depth < 0
        });
        let follows = |open: usize| self.word(open.wrapping_sub(1)) == "coopMultiplyAdd";
        open.is_some_and(follows) && matches!(self.word(at - 1), "(" | ",")
    }

    /// Whether lanes wait for each other here.
    fn is_wait(&self, at: usize) -> bool {
        let word = self.word(at);
        matches!(word, "workgroupBarrier" | "storageBarrier" | "workgroupUniformLoad") || self.waiting.contains(word)
    }

    fn find_waiting(&mut self) {
        loop {
            let functions = (0..self.tokens.len()).filter(|&at| self.word(at) == "fn").filter(|&at| {
                let body = self.next(at, "{");
                (body..self.closing(body)).any(|at| self.is_wait(at))
            });
            let found: BTreeSet<&str> = functions.map(|at| self.word(at + 1)).collect();
            if found == self.waiting {
                return;
            }
            self.waiting = found;
        }
    }

    /// `coopStore(VALUE, &y[INDEX], STRIDE)`
    fn store(&mut self, at: usize) -> usize {
        let (place, stride) = match self.arguments(at + 1)[..] {
            [_, ref place, ref stride] => (place.clone(), Some(stride.clone())),
            [_, ref place] => (place.clone(), None),
            _ => self.refuse(at, "a store has two or three arguments"),
        };
        let name = self.place(&place);
        if self.arrays[name].scalar != "f32" {
            self.refuse(at, &format!("{name} is no array of f32"));
        }
        self.stores.insert(name);
        self.replace(at..at + 1, format!("emulated_store_{name}"));
        self.replace(place.start..place.start + 3, String::new());
        self.end_of_call(at, place.end, stride);
        at + 2
    }

    /// The array in `&y[INDEX]`.
    fn place(&self, place: &Range<usize>) -> &'a str {
        let ["&", name, "["] = self.words(place.start, 3)[..] else {
            self.refuse(place.start, "a matrix lies at &ARRAY[INDEX]");
        };
        if self.closing(place.start + 2) != place.end - 1 {
            self.refuse(place.start, "a matrix lies at &ARRAY[INDEX], of one index");
        }
        if !self.arrays.contains_key(name) {
            self.refuse(
                place.start,
                &format!("{name} is no array of f16, f32 or vec4s of them in workgroup or storage"),
            );
        }
        name
    }

    /// `], STRIDE)` after a place becomes `, STRIDE, by_rows)`.
    fn end_of_call(&mut self, at: usize, after_place: usize, stride: Option<Range<usize>>) {
        let by_rows = self.word(at).ends_with('T');
        self.replace(after_place - 1..after_place, String::new());
        let (end, stride) = match stride {
            Some(stride) => (stride.end, ""),
            None => (after_place, ", 16u"),
        };
        let bracket = if self.word(end) == "," { end + 1 } else { end }; // there may be a trailing comma
        self.replace(end..bracket + 1, format!("{stride}, {by_rows})"));
    }

    /// The tokens of each argument within the bracket at `open`.
    fn arguments(&self, open: usize) -> Vec<Range<usize>> {
        if self.word(open) != "(" {
            self.refuse(open, "a call has arguments");
        }
        let (mut arguments, mut begin, mut at) = (Vec::new(), open + 1, open + 1);
        let end = self.closing(open);
        while at < end {
            match self.word(at) {
                "(" | "[" => at = self.closing(at),
                "," => {
                    arguments.push(begin..at);
                    begin = at + 1;
                }
                _ => {}
            }
            at += 1;
        }
        if begin < end {
            arguments.push(begin..end);
        }
        arguments
    }

    /// The index of the bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0;
        for at in open..self.tokens.len() {
            match self.word(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at;
            }
        }
        self.refuse(open, "this is never closed")
    }

    /// Makes the entry point store its lane number for the functions it calls.
    fn entry_point(&mut self) {
        let Some(compute) = (0..self.tokens.len()).find(|&at| self.words(at, 2) == ["@", "compute"]) else {
            self.refuse(0, "there is no entry point");
        };
        let open = self.next(self.next(compute, "fn"), "(");
        let close = self.closing(open);
        let Some(index) = (open..close).find(|&at| self.word(at) == "local_invocation_index") else {
            self.refuse(open, "its lanes have no local_invocation_index");
        };
        let [_, ")", lane, ":"] = self.words(index, 4)[..] else { self.refuse(index, "a lane's number has a name") };
        let body = self.next(close, "{");
        let begin = format!("{{ emulated_lane = {lane} % 32u; emulated_zero = {lane} >> 20u;");
        self.replace(body..body + 1, begin);
    }

    fn finish(mut self) -> String {
        self.edits.sort_by_key(|(bytes, _)| bytes.start);
        let mut out = String::new();
        let mut copied = 0;
        for (bytes, with) in &self.edits {
            out += &self.text[copied..bytes.start];
            out += with;
            copied = bytes.end;
        }
        out += &self.text[copied..];
        self.write_functions(&mut out).expect("text");
        out
    }

    fn write_functions(&self, out: &mut String) -> std::fmt::Result {
        out.write_str(PRELUDE)?;
        for (role, numbers) in [("A", "vec2<f32>"), ("B", "vec4<f32>")] {
            let sources = self.loads.iter().filter(|(of, _)| *of == role);
            let sources: Vec<_> = sources.map(|(_, name)| (*name, self.arrays[name])).collect();
            let form = if self.kept.contains(role) { Form::Numbers } else { Form::Place };
            write_operand(out, role, numbers, &sources, form)?;
        }
        out.write_str(MULTIPLY_ADD)?;
        for (_, name) in self.loads.iter().filter(|(role, _)| *role == "C") {
            self.arrays[name].write_load(out, name)?;
        }
        for name in &self.stores {
            self.arrays[name].write_store(out, name)?;
        }
        Ok(())
    }

    /// The next index of a word.
    fn next(&self, at: usize, word: &str) -> usize {
        let found = (at..self.tokens.len()).find(|&at| self.word(at) == word);
        found.unwrap_or_else(|| self.refuse(at, &format!("no {word} follows")))
    }

    fn word(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn words(&self, at: usize, len: usize) -> Vec<&'a str> {
        (at..at + len).map(|at| self.word(at)).collect()
    }

    fn replace(&mut self, tokens: Range<usize>, with: String) {
        let last = self.tokens[tokens.end - 1];
        self.edits.push((self.tokens[tokens.start].at..last.at + last.text.len(), with));
    }

    fn refuse(&self, at: usize, why: &str) -> ! {
        let byte = self.tokens.get(at).map_or(self.text.len(), |token| token.at);
        let number = 1 + self.text[..byte].matches('\n').count();
        let line = self.text.lines().nth(number - 1).unwrap_or("");
        panic!("{}, line {number}, {}: {why}: {}", self.name, self.word(at), line.trim());
    }
}

/// Words and single characters of WGSL, without comments.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() && !rest.starts_with("//") {
            assert!(!rest.starts_with("/*"), "a comment that is not of a line: {rest:.40}");
            tokens.push(Token { text: &text[at..at + len], at });
        }
        at += len;
    }
    tokens
}
