//! Kernels as embedded in the page: without comments, indentation and blank lines, which are more than half of the
//! text.

/// Copies WGSL without comments and blank space, as far as `into` reaches; returns the full length in bytes.
pub const fn strip(text: &[u8], into: &mut [u8]) -> usize {
    let mut len = 0;
    let mut next = 0;
    while next < text.len() {
        let (mut first, mut end) = (next, next);
        while end < text.len() && text[end] != b'\n' {
            end += 1;
        }
        next = end + 1;
        let mut last = first;
        while last < end && !(text[last] == b'/' && last + 1 < end && text[last + 1] == b'/') {
            last += 1;
        }
        while first < last && text[first] == b' ' {
            first += 1;
        }
        while first < last && text[last - 1] == b' ' {
            last -= 1;
        }
        if first == last {
            continue;
        }
        while first <= last {
            if len < into.len() {
                into[len] = if first < last { text[first] } else { b'\n' };
            }
            len += 1;
            first += 1;
        }
    }
    len
}

/// The text embedded in the program.
#[cfg(not(target_arch = "wasm32"))]
macro_rules! embedded {
    ($text:expr) => {
        $text
    };
}

/// The text embedded in the program.
#[cfg(target_arch = "wasm32")]
macro_rules! embedded {
    ($text:expr) => {{
        const TEXT: &str = $text;
        const STRIPPED: [u8; $crate::gpu::strip(TEXT.as_bytes(), &mut [])] = {
            let mut stripped = [0; $crate::gpu::strip(TEXT.as_bytes(), &mut [])];
            $crate::gpu::strip(TEXT.as_bytes(), &mut stripped);
            stripped
        };
        match std::str::from_utf8(&STRIPPED) {
            Ok(text) => text,
            Err(_) => panic!("WGSL outside comments must be ASCII"),
        }
    }};
}
pub(crate) use embedded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_comments_and_indentation() {
        let text = "// y = x\n@group(0) var x: f32;  // [N]\n\nfn f() {\n    // a\n    return 6 / 2;   \n}";
        let mut stripped = vec![0; strip(text.as_bytes(), &mut [])];
        assert_eq!(strip(text.as_bytes(), &mut stripped), stripped.len());
        assert_eq!(String::from_utf8(stripped).unwrap(), "@group(0) var x: f32;\nfn f() {\nreturn 6 / 2;\n}\n");
    }
}
