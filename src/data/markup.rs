//! Extracts plain text from XML-like markup (OSIS of SWORD modules, HTML of mdBook).

/// How tags affect the text around them.
pub(super) struct Rules {
    /// Elements dropped with their contents.
    pub dropped: &'static [&'static str],
    /// Elements set off by blank lines.
    pub paragraphs: &'static [&'static str],
    /// Elements on their own lines.
    pub lines: &'static [&'static str],
    /// Whether white space in the source is insignificant.
    pub collapse_space: bool,
}

/// OSIS, as in SWORD modules.
///
/// Notes occur in the middle of verses and would break up their sentences.
pub(super) const OSIS: Rules = Rules {
    dropped: &["note"],
    paragraphs: &["div", "title", "lg", "list", "table", "chapter", "speaker"],
    lines: &["l", "lb", "item", "row"],
    collapse_space: true,
};

/// The text of `markup` without tags: one line per paragraph or verse, at most one blank line in a row.
pub(super) fn plain_text(markup: &str, rules: &Rules) -> String {
    let mut text = String::with_capacity(markup.len() / 2);
    let mut rest = markup;
    let mut after_tag = false; // a tag follows the end of `text`
    let mut after_note = false; // it was a dropped element
    while let Some(open) = rest.find('<') {
        push_text(&mut text, &rest[..open], &mut after_tag, &mut after_note);
        rest = &rest[open..];
        let Some(close) = rest.find('>') else { break };
        let tag = &rest[1..close];
        rest = &rest[close + 1..];
        let name = element_name(tag);
        after_tag = true;
        if rules.paragraphs.contains(&name) {
            text.push_str("\n\n");
        } else if rules.lines.contains(&name) && !text.trim_end_matches(' ').ends_with('\n') {
            text.push('\n');
        } else if name == "cell" {
            text.push(' ');
        }
        let opens = !tag.starts_with('/') && !tag.ends_with('/');
        if opens && rules.dropped.contains(&name) {
            let end = format!("</{name}");
            let skipped = rest.find(&end).map_or(rest.len(), |at| at + rest[at..].find('>').map_or(0, |n| n + 1));
            rest = &rest[skipped..];
            after_note = true;
        }
    }
    push_text(&mut text, rest, &mut after_tag, &mut after_note);
    tidy_lines(&text, rules.collapse_space)
}

/// The byte positions of the opening tags `<element …>` that have all of `attributes`.
///
/// Attributes are given with their leading space: `sID=` alone would also match in `osisID=`.
pub(super) fn positions_of(markup: &str, element: &str, attributes: &[&str]) -> Vec<usize> {
    let mut positions = Vec::new();
    for (at, _) in markup.match_indices('<') {
        let Some(length) = markup[at..].find('>') else { break };
        let tag = &markup[at + 1..at + length];
        if element_name(tag) == element && !tag.starts_with('/') && attributes.iter().all(|part| tag.contains(part)) {
            positions.push(at);
        }
    }
    positions
}

/// The value of the first `name="…"` in `markup`.
pub(super) fn attribute<'a>(markup: &'a str, name: &str) -> Option<&'a str> {
    let start = markup.find(&format!(" {name}=\""))? + name.len() + 3;
    let length = markup[start..].find('"')?;
    Some(&markup[start..start + length])
}

fn element_name(tag: &str) -> &str {
    let tag = tag.strip_prefix('/').unwrap_or(tag);
    let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
    &tag[..end]
}

/// Appends text that follows a tag, with a space if the markup omits it.
///
/// SWORD's markup omits some: `Christ</w>,<note>…</note><w>the</w>` means "Christ, the".
fn push_text(text: &mut String, piece: &str, after_tag: &mut bool, after_note: &mut bool) {
    if piece.is_empty() {
        return;
    }
    let piece = unescape(piece);
    if let (Some(before), Some(after)) = (text.chars().next_back(), piece.chars().next()) {
        let opens_word = after.is_alphanumeric() || after == '“';
        let glued_sentence = *after_tag && matches!(before, ',' | '.' | ';' | ':' | '!' | '?' | '”');
        let glued_words = *after_note && before.is_alphanumeric();
        if opens_word && (glued_sentence || glued_words) {
            text.push(' ');
        }
    }
    text.push_str(&piece);
    (*after_tag, *after_note) = (false, false);
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest.find(';').filter(|end| *end <= 8).map(|end| &rest[1..end]);
        match entity.and_then(|name| Some((name, character(name)?))) {
            Some((name, value)) => {
                plain.push(value);
                rest = &rest[name.len() + 2..];
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let digits = entity.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

fn tidy_lines(text: &str, collapse_space: bool) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut blank_lines = 0;
    for line in text.lines() {
        let line = if collapse_space {
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        } else {
            line.trim_end().to_owned()
        };
        if line.is_empty() {
            blank_lines += 1;
            continue;
        }
        if blank_lines > 0 && !tidy.is_empty() {
            tidy.push('\n');
        }
        blank_lines = 0;
        tidy.push_str(&line);
        tidy.push('\n');
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn osis(markup: &str) -> String {
        plain_text(markup, &OSIS)
    }

    #[test]
    fn tags_go_and_paragraphs_stay() {
        assert_eq!(
            osis("<div sID=\"a\"/>One <hi type=\"b\">two</hi>.<div eID=\"a\"/><div/>Three"),
            "One two.\n\nThree\n"
        );
        assert_eq!(osis("<row><cell>Outline.</cell><cell>(1-8)</cell></row>"), "Outline. (1-8)\n");
        assert_eq!(osis("<lg><l>Blessed</l> <l>nor stand</l></lg>On"), "Blessed\nnor stand\n\nOn\n");
    }

    #[test]
    fn notes_leave_no_trace_and_no_glued_words() {
        assert_eq!(osis("<w>Christ</w>,<note placement=\"foot\"><w>x</w> y</note><w>the</w> son"), "Christ, the son\n");
        assert_eq!(osis("Lord<note>n</note>, God<note>m</note>said"), "Lord, God said\n");
        assert_eq!(osis("“Now.”</q><w>Then</w>"), "“Now.” Then\n");
        assert_eq!(osis("<hi>don</hi>’t a<hi>b</hi>c"), "don’t abc\n");
    }

    #[test]
    fn entities_are_characters() {
        assert_eq!(osis("&amp;c. &lt;b&gt; &#8212; &#x41; AT&T &unknown;"), "&c. <b> — A AT&T &unknown;\n");
    }

    #[test]
    fn torn_markup_does_not_panic() {
        assert_eq!(osis("a <note>never closed"), "a\n");
        assert_eq!(osis("a <div"), "a <div\n");
        assert_eq!(osis(""), "");
    }

    #[test]
    fn opening_tags_are_found_by_attributes() {
        let markup = "x<div osisID=\"Gen\" sID=\"1\" type=\"book\"/>y<div eID=\"1\" osisID=\"Gen\" type=\"book\"/>";
        assert_eq!(positions_of(markup, "div", &[" sID=", " type=\"book\""]), [1]);
        assert_eq!(attribute(&markup[1..], "osisID"), Some("Gen"));
        assert_eq!(attribute(markup, "missing"), None);
    }
}
