//! Finds which bindings a kernel reads and writes from its WGSL, so that no caller has to declare it again.
//!
//! The WGSL is scanned without a compiler, because the browser offers none; a test compares the result with naga's.

use std::collections::BTreeMap;

/// When a dispatch touches a binding; some kernels do so only under a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Never.
    Never,
    /// If the override `constant` (by default `default`) equals `wanted`.
    If {
        /// The override's name.
        constant: &'static str,
        /// The default in the kernel's text; false if it has none, in which case every dispatch sets it.
        default: bool,
        /// The value for which the binding is touched.
        wanted: bool,
    },
    /// In every dispatch.
    Always,
}

impl Touch {
    /// Whether a dispatch with these constants touches it.
    pub fn with(self, constants: &[(&'static str, f64)]) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::If { constant, default, wanted } => {
                let given = constants.iter().find(|(name, _)| *name == constant);
                given.map_or(default, |&(_, value)| value != 0.0) == wanted
            }
        }
    }

    /// Whether any dispatch can touch it.
    pub fn ever(self) -> bool {
        self != Self::Never
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, touch) | (touch, Self::Never) => touch,
            (a, b) if a == b => a,
            _ => Self::Always,
        }
    }
}

/// The override that makes a kernel add to its output.
const ACCUMULATE: &str = "ACCUMULATE";

/// When a kernel's text reads the variable `name`, and when it writes it.
///
/// A plain assignment to the variable or to a part of it is a write, `+=` and the like are a read and a write, anything
/// else is a read. A use inside `if (CONSTANT)` or `if (!CONSTANT)`, with a boolean override, is conditional on it; so
/// is a read in a statement that mentions `ACCUMULATE`, as in `y[at] = select(0.0, y[at], ACCUMULATE) + sum`.
pub(super) fn touched(text: &'static str, name: &str) -> [Touch; 2] {
    let tokens = tokens(text);
    let flags = boolean_overrides(text);
    let token = |at: usize| tokens.get(at).copied().unwrap_or("");
    let [mut reads, mut writes] = [Touch::Never; 2];
    let mut begun = 0; // start of the current statement
    // For every open block: its condition, and whether it declares a variable that shadows the name.
    let mut blocks: Vec<(Option<Touch>, bool)> = Vec::new();
    let mut parameter = false; // whether the function about to open has a parameter of that name
    for at in 0..tokens.len() {
        match token(at) {
            ";" => begun = at + 1,
            "{" => {
                blocks.push((condition(&tokens[begun..at], &flags), parameter));
                parameter = false;
                begun = at + 1;
            }
            "}" => {
                blocks.pop();
                begun = at + 1;
            }
            found if found == name => {
                let before = if at > 0 { token(at - 1) } else { "" };
                match before {
                    "." => continue, // a member
                    "let" | "var" | "const" => {
                        blocks.last_mut().expect("a declaration is inside a function").1 = true;
                        continue;
                    }
                    _ if token(at + 1) == ":" => {
                        parameter |= blocks.is_empty() && tokens[begun..at].contains(&"fn");
                        continue; // a parameter, or the declaration itself
                    }
                    _ if blocks.iter().any(|(_, own)| *own) => continue,
                    _ => {}
                }
                let under = blocks.iter().rev().find_map(|(under, _)| *under).unwrap_or(Touch::Always);
                let rest = &tokens[begun..];
                let statement = rest.iter().position(|token| matches!(*token, ";" | "{" | "}")).unwrap_or(rest.len());
                let read = match flags.get(ACCUMULATE) {
                    Some(&(constant, default)) if under == Touch::Always && rest[..statement].contains(&ACCUMULATE) => {
                        Touch::If { constant, default, wanted: true }
                    }
                    _ => under,
                };
                let [does_read, does_write] = at_hand(&tokens, at);
                if does_read {
                    reads = reads.or(read);
                }
                if does_write {
                    writes = writes.or(under);
                }
            }
            _ => {}
        }
    }
    [reads, writes]
}

/// Whether the use of a variable at this token reads, and whether it writes.
fn at_hand(tokens: &[&str], at: usize) -> [bool; 2] {
    let token = |at: usize| tokens.get(at).copied().unwrap_or("");
    if at >= 2 && token(at - 1) == "&" && matches!(token(at - 2), "(" | "," | "=") {
        return match called(&tokens[..at - 1]) {
            "arrayLength" => [false, false],
            "coopStore" | "coopStoreT" | "atomicStore" => [false, true],
            "coopLoad" | "coopLoadT" | "atomicLoad" => [true, false],
            _ => [true, true],
        };
    }
    // Skip indices and members.
    let mut after = at + 1;
    loop {
        match token(after) {
            "." => after += 2,
            "[" => {
                let mut depth = 0;
                loop {
                    match token(after) {
                        "[" => depth += 1,
                        "]" => depth -= 1,
                        _ => {}
                    }
                    after += 1;
                    if depth == 0 || after >= tokens.len() {
                        break;
                    }
                }
            }
            _ => break,
        }
    }
    match token(after) {
        "=" => [false, true],
        "+=" | "-=" | "*=" | "/=" | "%=" | "&=" | "|=" | "^=" | "<<=" | ">>=" | "++" | "--" => [true, true],
        _ => [true, false],
    }
}

/// The function whose argument list these tokens end in, without template arguments.
fn called<'a>(tokens: &[&'a str]) -> &'a str {
    let closed = |open: &str, close: &str, last: usize| {
        let mut depth = 0;
        tokens[..last].iter().rposition(|token| {
            depth += i32::from(*token == close) - i32::from(*token == open);
            depth < 0 || (depth == 0 && *token == open)
        })
    };
    let Some(bracket) = closed("(", ")", tokens.len()) else { return "" };
    let name = if bracket > 0 && tokens[bracket - 1] == ">" { closed("<", ">", bracket) } else { Some(bracket) };
    name.and_then(|after| tokens[..after].last()).copied().unwrap_or("")
}

/// The condition that `if (FLAG)`, `if (!FLAG)`, or either followed by `&& …`, puts on its block.
fn condition(header: &[&str], flags: &BTreeMap<&'static str, (&'static str, bool)>) -> Option<Touch> {
    let (name, wanted, after) = match *header {
        ["if", "(", "!", name, after, ..] => (name, false, after),
        ["if", "(", name, after, ..] => (name, true, after),
        _ => return None,
    };
    let &(constant, default) = flags.get(name)?;
    matches!(after, ")" | "&&").then_some(Touch::If { constant, default, wanted })
}

/// The boolean overrides with their defaults.
fn boolean_overrides(text: &'static str) -> BTreeMap<&'static str, (&'static str, bool)> {
    let declared = text.lines().filter_map(|line| line.trim_start().strip_prefix("override ")?.split_once(';'));
    let flags = declared.filter_map(|(declared, _)| {
        let (name, ty) = declared.split_once(':')?;
        let (ty, value) = ty.split_once('=').unwrap_or((ty, "false"));
        (ty.trim() == "bool").then(|| (name.trim(), (name.trim(), value.trim() == "true")))
    });
    flags.collect()
}

/// Words, operators and single characters of WGSL, without comments.
fn tokens(text: &str) -> Vec<&str> {
    const OPERATORS: [&str; 18] =
        ["<<=", ">>=", "==", "!=", "<=", ">=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "++", "--"];
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut rest = line.split_once("//").map_or(line, |(code, _)| code).trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let len = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                OPERATORS.iter().find(|operator| rest.starts_with(**operator)).map_or(first.len_utf8(), |o| o.len())
            };
            let (token, after) = rest.split_at(len);
            tokens.push(token);
            rest = after.trim_start();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        override ROWS: u32;
        override ACCUMULATE: bool = false;
        override BEGIN: bool = true;  // no statistics yet
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        fn f() {
            y[at + places[x[2]]].x = select(0.0, y[at], ACCUMULATE) + a.z;  // z = y
            if (!BEGIN && lane == 0u) { before = s[row]; }
            s[row] = now;
            if (BEGIN) { t[0] = 1.0; }
            u += 1.0;
            how.along = select(0.0, share * along[query], updates);
            if (i >= arrayLength(&v)) { return; }
            coopStore(sums, &w[at], COLS);
            let m = coopLoad<coop_mat16x16<f16, A>>(&w2[at], COLS);
            let both = min(p == 0.0, y2[0]) == true;
        }
        fn own(y3: u32, y4: u32) { y3[0] = 1.0; var y5 = y6[0]; if (y5 > 0.0) { y5 += 1.0; } }
        fn theirs() { y3[0] += 1.0; }";

    #[test]
    fn reads_and_writes_are_told_apart() {
        let when = |constant, default, wanted| Touch::If { constant, default, wanted };
        let (never, always) = (Touch::Never, Touch::Always);
        for (name, want) in [
            ("y", [when("ACCUMULATE", false, true), always]),
            ("places", [when("ACCUMULATE", false, true), never]),
            ("x", [when("ACCUMULATE", false, true), never]),
            ("z", [never, never]),
            ("s", [when("BEGIN", true, false), always]),
            ("t", [never, when("BEGIN", true, true)]),
            ("u", [always, always]),
            ("how", [never, always]),
            ("along", [always, never]),
            ("v", [never, never]),
            ("w", [never, always]),
            ("w2", [always, never]),
            ("p", [always, never]),
            ("y2", [always, never]),
            ("y3", [always, always]),
            ("y4", [never, never]),
            ("y5", [never, never]),
            ("y6", [always, never]),
        ] {
            assert_eq!(touched(TEXT, name), want, "{name}");
        }
    }

    #[test]
    fn a_constant_that_is_not_given_has_the_value_of_the_text() {
        let touch = Touch::If { constant: "BEGIN", default: true, wanted: false };
        assert_eq!(
            [touch.with(&[]), touch.with(&[("BEGIN", 0.0)]), touch.with(&[("BEGIN", 1.0)])],
            [false, true, false]
        );
    }
}
