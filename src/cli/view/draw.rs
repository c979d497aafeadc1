//! Draws a run in the terminal: its loss, its numbers, its newest text.

use multinorm::gpu::bytes_in_words;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, Gauge, GraphType, Paragraph, Sparkline, Wrap};

use super::state::{Phase, RunView, duration_in_words};

/// Display options of the view.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Whether to draw only the last fifth of the steps.
    pub zoomed: bool,
    /// While kernels compile: how many are done, and their total.
    pub compiling: Option<(usize, usize)>,
    /// Whether the view watches another process's run: it can be left, but the run cannot be stopped.
    pub watching: bool,
}

// The terminal's own colours, to respect its theme; the curves differ in their markers as well.
const LOSS: Color = Color::Cyan;
const EVALUATION: Color = Color::Yellow;
const FAINT: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Width of the numbers beside the loss, in columns.
const NUMBERS_WIDTH: u16 = 30;
/// Below this size there is room for the numbers only.
const SMALL: (u16, u16) = (64, 16);

/// Draws a run into the whole frame.
pub fn draw(frame: &mut Frame<'_>, run: &RunView, look: Look) {
    let area = frame.area();
    let [header, progress, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(area);
    let title = [
        Span::styled(run.folder.clone(), STRONG),
        Span::raw(format!("  {}", run.summary)),
        Span::styled(format!("  {}", run.adapter), FAINT),
    ];
    frame.render_widget(Line::from_iter(title), header);
    progress_bar(frame, progress, run, look);
    if area.width < SMALL.0 || area.height < SMALL.1 {
        frame.render_widget(Paragraph::new(numbers(run)), body);
    } else {
        let [upper, lower] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(body);
        let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(NUMBERS_WIDTH)]).areas(upper);
        losses(frame, left, run, look.zoomed);
        let [figures, speeds] = Layout::vertical([Constraint::Min(0), Constraint::Length(4)]).areas(right);
        frame.render_widget(Paragraph::new(numbers(run)).block(Block::new().borders(Borders::LEFT)), figures);
        speed_curve(frame, speeds, run);
        let [text, lines] = Layout::vertical([Constraint::Fill(1), Constraint::Length(4)]).areas(lower);
        newest_text(frame, text, run);
        newest_lines(frame, lines, run);
    }
    let keys = match (look.watching, look.zoomed) {
        (true, false) => "q leave   z the last steps",
        (true, true) => "q leave   z all steps",
        (false, false) => "q stop and save   p plain lines   z the last steps",
        (false, true) => "q stop and save   p plain lines   z all steps",
    };
    frame.render_widget(Line::styled(keys, FAINT), footer);
}

fn progress_bar(frame: &mut Frame<'_>, area: Rect, run: &RunView, look: Look) {
    let (step, n_steps) = (run.step(), run.n_steps);
    let words = match (&run.phase, look.compiling) {
        (Phase::Preparing, Some((done, total))) => format!("compiling {done} of {total} kernels"),
        (Phase::Preparing, None) => "preparing the first step".into(),
        (Phase::Stopping, _) => format!("step {step} of {n_steps} · finishing the step and saving"),
        (Phase::Ended, _) if step >= n_steps => format!("step {step} of {n_steps} · done"),
        (Phase::Ended, _) => format!("step {step} of {n_steps} · not running"),
        (Phase::Training, _) => match run.time_left() {
            Some(left) => format!("step {step} of {n_steps} · {} left", duration_in_words(left)),
            None => format!("step {step} of {n_steps}"),
        },
    };
    let share = match look.compiling.filter(|_| run.phase == Phase::Preparing) {
        Some((done, total)) => done as f64 / total.max(1) as f64,
        None => step as f64 / n_steps.max(1) as f64,
    };
    let gauge = Gauge::default().ratio(share.clamp(0.0, 1.0)).label(words).gauge_style(Style::new().fg(LOSS));
    frame.render_widget(gauge, area);
}

/// One line per known number.
fn numbers(run: &RunView) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String, color: Option<Color>| {
        let value = Span::styled(value, color.map_or(STRONG, |color| STRONG.fg(color)));
        lines.push(Line::from_iter([Span::styled(format!(" {name:<15}"), FAINT), value]));
    };
    if let Some(report) = &run.last {
        add("training loss", format!("{:.4}", smoothed(&run.losses).unwrap_or(report.loss)), Some(LOSS));
    }
    if let Some((_, loss)) = run.evaluations.last() {
        add("validation", format!("{loss:.4}"), Some(EVALUATION));
        add("perplexity", format!("{:.2}", loss.exp()), None);
    }
    if let Some(best) = run.best_evaluation().filter(|best| run.evaluations.last().is_some_and(|(_, l)| best < l)) {
        add("best", format!("{best:.4}"), None);
    }
    if let Some(baseline) = run.baseline {
        add("bigram table", format!("{baseline:.4}"), None);
    }
    if let Some(report) = &run.last {
        add("learning rate", format!("{:.2e}", report.lr), None);
        add("gradient norm", format!("{:.3}", report.grad_norm), None);
        add("tokens", in_thousands(report.tokens), None);
        if let Some(scale) = report.loss_scale {
            add("loss scale", format!("2^{:.0}", scale.log2()), None);
        }
        if let Some(skipped) = report.skipped_steps.filter(|&skipped| skipped > 0) {
            add("skipped steps", skipped.to_string(), None);
        }
    }
    if let Some(speed) = run.tokens_per_sec {
        add("tokens/s", in_thousands(speed as u64), None);
    }
    if let Some(bytes) = run.memory {
        add("device memory", bytes_in_words(bytes), None);
    }
    lines
}

/// The mean of the last losses.
fn smoothed(losses: &[(f64, f64)]) -> Option<f64> {
    let last = &losses[losses.len().saturating_sub((losses.len() / 20).clamp(1, 50))..];
    (!last.is_empty()).then(|| last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len() as f64)
}

/// `1 234 567`.
fn in_thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(" ")
}

fn losses(frame: &mut Frame<'_>, area: Rect, run: &RunView, zoomed: bool) {
    let mut title = vec![Span::styled("loss in nats a token:", FAINT), Span::styled(" ─ training", LOSS)];
    if !run.evaluations.is_empty() {
        title.push(Span::styled("  ● validation", EVALUATION));
    }
    if run.baseline.is_some() {
        title.push(Span::styled("  ⠒ bigram table", FAINT));
    }
    let block = Block::new().title(Line::from(title));
    let last = run.losses.last().map_or(0.0, |(step, _)| *step);
    let first = if zoomed { (last * 0.8).floor() } else { 0.0 };
    let from = |points: &[(f64, f64)]| points.iter().copied().filter(|(step, _)| *step >= first).collect::<Vec<_>>();
    // Two braille dots per column.
    let mean = bucketed(&from(&run.losses), 2 * usize::from(area.width));
    let evaluations = from(&run.evaluations);
    let heights = || mean.iter().chain(&evaluations).map(|(_, loss)| *loss).filter(|loss| loss.is_finite());
    let (low, high) = heights().fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(y), high.max(y)));
    if mean.is_empty() || low > high {
        let words = Paragraph::new("the curve begins with the first step").style(FAINT).block(block);
        return frame.render_widget(words, area);
    }
    // Draw the baseline only if the losses come near it.
    let baseline = run.baseline.filter(|&level| level > low - (high - low) && level < high + (high - low));
    let (low, high) = (baseline.map_or(low, |level| low.min(level)), baseline.map_or(high, |level| high.max(level)));
    let margin = (0.05 * (high - low)).max(1e-3);
    let [low, high] = [low - margin, high + margin];
    let right = last.max(first + 1.0);
    let n_dots = area.width;
    let dot = |i: u16, y| (first + (right - first) * f64::from(i) / f64::from(n_dots), y);
    let level: Vec<_> = baseline.map(|y| (0..=n_dots).map(|i| dot(i, y)).collect()).unwrap_or_default();
    let curve =
        |marker, kind, style, points| Dataset::default().marker(marker).graph_type(kind).style(style).data(points);
    let datasets = vec![
        curve(Marker::Braille, GraphType::Scatter, FAINT, &level),
        curve(Marker::Braille, GraphType::Line, Style::new().fg(LOSS), &mean),
        curve(Marker::Dot, GraphType::Scatter, STRONG.fg(EVALUATION), &evaluations),
    ];
    let middle = |a: f64, b: f64| (a + b) / 2.0;
    let x = [first, middle(first, right), right].map(|step| format!("{step:.0}"));
    let y = [low, middle(low, high), high].map(|loss| format!("{loss:.2}"));
    let chart = Chart::new(datasets)
        .block(block)
        .x_axis(Axis::default().bounds([first, right]).labels(x).style(FAINT))
        .y_axis(Axis::default().bounds([low, high]).labels(y).style(FAINT));
    frame.render_widget(chart, area);
}

/// At most `n` points, each the mean of equally many neighbours.
fn bucketed(points: &[(f64, f64)], n: usize) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(n.max(1)).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let (x, y) = chunk.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        (x / chunk.len() as f64, y / chunk.len() as f64)
    };
    points.chunks(size).map(mean).collect()
}

fn speed_curve(frame: &mut Frame<'_>, area: Rect, run: &RunView) {
    let block = Block::new().borders(Borders::LEFT | Borders::TOP).title(Span::styled(" tokens/s ", FAINT));
    let width = usize::from(block.inner(area).width);
    let speeds = run.speeds.iter().skip(run.speeds.len().saturating_sub(width)).copied();
    frame.render_widget(Sparkline::default().block(block).data(speeds).style(Style::new().fg(LOSS)), area);
}

fn newest_text(frame: &mut Frame<'_>, area: Rect, run: &RunView) {
    let (title, text) = match &run.text {
        Some((step, text)) => (format!(" text after step {step} "), text.as_str()),
        None => (" text ".into(), "the model writes one after each evaluation"),
    };
    let style = if run.text.is_some() { Style::new() } else { FAINT };
    let block = Block::new().borders(Borders::TOP).title(Span::styled(title, FAINT));
    frame.render_widget(Paragraph::new(printable(text)).style(style).wrap(Wrap { trim: false }).block(block), area);
}

/// Replaces control characters, which a terminal would obey: a young model can write anything.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '·' } else { c }).collect()
}

fn newest_lines(frame: &mut Frame<'_>, area: Rect, run: &RunView) {
    let block = Block::new().borders(Borders::TOP);
    let n = usize::from(block.inner(area).height);
    let lines = run.lines.iter().skip(run.lines.len().saturating_sub(n));
    let lines: Vec<Line<'_>> = lines.map(|line| Line::styled(printable(line), FAINT)).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests {
    use multinorm::config::{RunConfig, RunDefaults};
    use multinorm::train::{Evaluation, Event, StepReport};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn view() -> RunView {
        let config = RunConfig::load(None, &[], RunDefaults::Software).unwrap();
        RunView::new("runs/0001".into(), "llvmpipe".into(), &config)
    }

    fn screen(run: &RunView, look: Look, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, run, look)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
    }

    fn report(step: u64, loss: f64) -> Event {
        Event::Step(StepReport {
            step,
            tokens: 1024 * step,
            loss,
            lr: 0.02,
            grad_norm: 1.5,
            loss_scale: None,
            skipped: false,
            skipped_steps: None,
            tokens_per_sec: 1000.0,
        })
    }

    #[test]
    fn it_says_what_it_does_before_the_first_step() {
        let mut run = view();
        let compiling = Look { compiling: Some((41, 63)), ..Look::default() };
        let shown = screen(&run, compiling, 90, 24);
        assert!(
            shown.contains("runs/0001  row, column × 5") && shown.contains("compiling 41 of 63 kernels"),
            "{shown}"
        );
        assert!(shown.contains("the curve begins with the first step") && shown.contains("q stop and save"), "{shown}");
        run.take(&report(1, 7.0));
        let shown = screen(&run, compiling, 90, 24);
        assert!(shown.contains("step 1 of 300") && !shown.contains("compiling"), "{shown}");
    }

    #[test]
    fn curves_numbers_and_texts_are_shown() {
        let mut run = view();
        run.baseline = Some(4.389);
        for step in 1..=200 {
            run.take(&report(step, 7.0 - step as f64 / 80.0));
        }
        run.take(&Event::Evaluated { step: 200, evaluation: Evaluation { loss: 4.6, perplexity: 99.5, tokens: 10 } });
        run.take(&Event::Wrote { step: 200, text: "It was\u{1b}[31m the\nbest".into() });
        run.push_line("saved runs/0001/checkpoints/step-00000200");
        let shown = screen(&run, Look::default(), 100, 30);
        for expected in [
            "step 200 of 300",
            "validation     4.6000",
            "perplexity     99.48",
            "bigram table   4.3890",
            "tokens         204 800",
            "learning rate  2.00e-2",
            "text after step 200",
            "It was·[31m the",
            "saved runs/0001",
            "─ training  ● validation  ⠒ bigram table",
            "200",
        ] {
            assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
        }
        let dots = |text: &str| text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
        assert!(dots(&shown) > 40, "a curve of {} characters\n{shown}", dots(&shown));
        // Zoomed, the axis begins at four fifths of the run.
        let shown = screen(&run, Look { zoomed: true, ..Look::default() }, 100, 30);
        assert!(shown.contains("160") && shown.contains("z all steps"), "{shown}");
    }

    #[test]
    fn every_size_of_terminal_is_drawn() {
        let mut run = view();
        for step in 1..=3 {
            run.take(&report(step, 5.0));
        }
        for (width, height) in [(1, 1), (20, 3), (40, 10), (64, 16), (300, 100)] {
            let shown = screen(&run, Look::default(), width, height);
            assert_eq!(shown.lines().count(), usize::from(height));
        }
        let small = screen(&run, Look::default(), 40, 10);
        assert!(small.contains("training loss  5.0000"), "{small}");
        let mut nothing = view();
        nothing.take(&report(1, f64::NAN));
        screen(&nothing, Look::default(), 100, 30);
    }

    #[test]
    fn many_steps_become_as_many_points_as_there_is_room_for() {
        let points: Vec<(f64, f64)> = (0..1001).map(|i| (f64::from(i), 2.0)).collect();
        let few = bucketed(&points, 100);
        assert!(few.len() <= 100 && few.iter().all(|(_, y)| *y == 2.0));
        assert_eq!(bucketed(&points[..3], 100).len(), 3);
        assert_eq!(in_thousands(1_234_567), "1 234 567");
    }
}
