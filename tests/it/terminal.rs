//! The terminal view of a run, and `multinorm watch`.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use vt100::Parser;
use web_time::Instant;

use super::program::*;

/// A program on its own terminal of 100 columns and 30 lines, using util-linux's `script`.
struct OnTerminal {
    child: Child,
    keys: ChildStdin,
    /// The program's output as it arrives; the channel closes when the program ends.
    output: Receiver<Vec<u8>>,
    terminal: Parser,
    /// Whether the view ever filled the terminal.
    was_filled: bool,
    /// The last contents of the view.
    view: String,
}

impl OnTerminal {
    fn start(args: &[&str]) -> Self {
        heed_interrupts();
        let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
        let words = format!("stty cols 100 rows 30; exec '{PROGRAM}' {}", quoted.join(" "));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--echo", "never", "--command", &words, "/dev/null"]);
        script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("util-linux's script");
        let (sender, output) = channel();
        let mut stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = child.stdin.take().unwrap();
        let terminal = Parser::new(30, 100, 1000);
        Self { child, keys, output, terminal, was_filled: false, view: String::new() }
    }

    /// Reads the program's next output; false once the program has ended.
    fn goes_on(&mut self) -> bool {
        match self.output.recv_timeout(TIMEOUT) {
            Ok(bytes) => {
                // In small pieces: the end of the view and later output may arrive together.
                for bytes in bytes.chunks(16) {
                    self.terminal.process(bytes);
                    if self.terminal.screen().alternate_screen() {
                        self.was_filled = true;
                        self.view = self.terminal.screen().contents();
                    }
                }
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                panic!("nothing for {TIMEOUT:?}:\n{}", self.terminal.screen().contents());
            }
        }
    }

    /// Reads until `text` is shown.
    fn await_text(&mut self, text: &str) {
        let began = Instant::now();
        while !self.terminal.screen().contents().contains(text) {
            assert!(self.goes_on(), "it ended without {text:?}:\n{}", self.terminal.screen().contents());
            if began.elapsed() > TIMEOUT {
                let _ = self.child.kill();
                panic!("no {text:?} in\n{}", self.terminal.screen().contents());
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).unwrap();
    }

    /// The terminal's contents after the program has ended successfully.
    fn end(&mut self) -> String {
        let began = Instant::now();
        while self.goes_on() {
            if began.elapsed() > TIMEOUT {
                let _ = self.child.kill();
                panic!("it does not end:\n{}", self.terminal.screen().contents());
            }
        }
        let status = self.child.wait().unwrap();
        let screen = self.terminal.screen();
        assert!(status.success() && !screen.alternate_screen(), "{status}:\n{}", screen.contents());
        screen.contents()
    }
}

/// How long a program may be silent, or not print the awaited text.
const TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(target_os = "linux")]
#[test]
fn a_run_fills_the_terminal_and_gives_it_back() {
    let place = TestDir::new();
    let (config, folder) = (place.text("config.toml"), place.text("run"));
    let sets = ["--set", "train.steps=300", "--set", "eval.every=100"];
    let mut run = OnTerminal::start(&[&["train", &config, "--out", &folder][..], &sets].concat());
    run.await_text("text after step 100");
    run.await_text("of 300");
    for expected in ["loss in nats a token:", "● validation", "tokens/s", "device memory", "q stop and save"] {
        let shown = run.terminal.screen().contents();
        assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
    }
    let after = run.end();
    for expected in ["step 300: validation loss", "saved ", "done", "bigram baseline"] {
        assert!(after.contains(expected), "no {expected:?} in\n{after}");
    }
    assert_eq!(after.matches("step 300: validation loss").count(), 1, "{after}");

    // Plain lines if requested, or if there is no terminal.
    let mut plain = OnTerminal::start(&["train", &config, "--out", &place.text("plain"), "--plain"]);
    let shown = plain.end();
    assert!(!plain.was_filled && shown.contains("step 12/12 · loss"), "{shown}");
    let piped = program(&["train", &config, "--out", &place.text("piped")]);
    let told = stderr(&piped);
    assert!(!told.contains('\u{1b}') && told.contains("step 12: the model writes: It was"), "{told}");
}

#[cfg(target_os = "linux")]
#[test]
fn keys_stop_the_run_and_bring_plain_lines() {
    let place = TestDir::new();
    let (config, folder) = (place.text("config.toml"), place.text("run"));
    let endless = ["--set", "train.steps=1000000", "--set", "schedule.kind=constant"];
    let mut run = OnTerminal::start(&[&["train", &config, "--out", &folder][..], &endless].concat());
    run.await_text("text after step");
    run.press("q");
    let after = run.end();
    assert!(run.was_filled && after.contains("stopped early; the run can be resumed"), "{after}");
    assert!(after.contains("stopping: finishing the step and saving"), "{after}");

    let mut run = OnTerminal::start(&["train", "--resume", &folder]);
    run.await_text("text after step");
    run.press("p");
    run.await_text(" · lr ");
    run.press("\u{3}"); // by now the terminal turns this into a signal
    let after = run.end();
    assert!(after.contains("go on with         multinorm train --resume"), "{after}");
}

#[test]
fn a_run_in_a_folder_is_watched() {
    let place = TestDir::new();
    let folder = place.text("run");
    fails(&["watch", &folder], 1, &["holds no run"]);
    let endless = ["train.steps=1000000", "schedule.kind=constant"];
    let mut child = place.spawn_train("run", &endless);
    let began = Instant::now();
    let state = loop {
        let output = program(&["watch", &folder, "--json"]);
        if output.status.success() {
            let state = json(&output);
            if state["text"].is_object() {
                break state;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{}", stderr(&output));
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&state["running"], &state["steps"]), (&true.into(), &1_000_000.into()));
    assert!(state["step"].as_u64().unwrap() >= 6 && state["session"]["device_bytes"].as_u64().unwrap() > 100_000);
    assert!(state["text"]["text"].as_str().unwrap().starts_with("It was"), "{state}");
    assert!(state["evaluations"][0]["eval_loss"].is_number(), "{state}");
    let mut watching = Command::new(PROGRAM).args(["watch", &folder]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut shown = String::new();
    watching.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert!(watching.wait().unwrap().success());
    for expected in ["adapter ", "validation loss", "the model writes: It was", "not running; resume with"] {
        assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
    }
    assert_eq!(json(&program(&["watch", &folder, "--json"]))["running"], false);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_of_yesterday_is_drawn() {
    let place = TestDir::new();
    place.train("run", &[]);
    let folder = place.text("run");
    let mut watching = OnTerminal::start(&["watch", &folder]);
    watching.await_text("step 12 of 12 · done");
    watching.await_text("text after step 12");
    watching.press("q");
    let after = watching.end();
    assert!(watching.was_filled && after.trim().is_empty(), "{after}");
    assert!(watching.view.contains("q leave"), "{}", watching.view);
}
