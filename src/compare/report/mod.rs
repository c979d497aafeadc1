//! The report as one self-contained HTML file, with its style and plots inside.

mod figures;
mod plots;
mod tables;

use self::figures::figures;
pub(super) use self::figures::{picture, picture_of_state};
use self::tables::{conditions, fine_tuning, overview, sweep, verdicts};
use super::result::Comparison;
use crate::plot::{escape, palette};

/// `report.html`.
pub(super) fn html(found: &Comparison) -> String {
    let progress = if found.complete {
        String::new()
    } else {
        format!(
            "<p class=\"notice\" role=\"status\">{} of {} runs have ended; this page is rewritten after each.</p>",
            found.runs_done, found.runs_planned
        )
    };
    let names: Vec<&str> = found.optimizers.iter().map(|optimizer| optimizer.name.as_str()).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>\n{style}{palette}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{progress}\n{overview}\n{verdicts}\n{figures}\n{fine_tuning}\n{sweep}\n{conditions}\n\
         </main>\n</body>\n</html>\n",
        title = escape(&title(&names, &found.corpus.name)),
        style = include_str!("style.css"),
        palette = palette(),
        overview = overview(found),
        verdicts = verdicts(found),
        figures = figures(found),
        fine_tuning = fine_tuning(found),
        sweep = sweep(found),
        conditions = conditions(found),
    )
}

/// A longer list is too long for a heading.
const MOST_NAMES: usize = 6;

fn title(optimizers: &[&str], corpus: &str) -> String {
    let n = optimizers.len();
    let what = if n > MOST_NAMES { format!("{n} optimizers") } else { optimizers.join(", ") };
    format!("{what} on {corpus}")
}

/// `12 345 678`, with narrow no-break spaces.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let lead = digits.len() % 3;
    let (head, tail) = digits.split_at(lead);
    let groups = tail.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let parts: Vec<String> = (!head.is_empty()).then(|| head.to_owned()).into_iter().chain(groups).collect();
    parts.join("\u{202f}")
}

/// `48.2 s`, `12.5 min`, `3.4 h`.
fn duration(secs: f64) -> String {
    match secs {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_names_optimizers_as_long_as_they_are_few() {
        assert_eq!(title(&["adam", "sinkgd"], "austen"), "adam, sinkgd on austen");
        assert_eq!(title(&["adam"; 7], "austen"), "7 optimizers on austen");
    }

    #[test]
    fn words_and_numbers_stand_as_they_should() {
        assert_eq!(
            [0, 12, 123, 1234, 123_456, 1_234_567].map(grouped).join(" "),
            "0 12 123 1\u{202f}234 123\u{202f}456 1\u{202f}234\u{202f}567"
        );
        assert_eq!([1.0, 150.0, 7300.0].map(duration), ["1.0 s", "2.5 min", "2.0 h"]);
    }
}
