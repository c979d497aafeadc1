//! Several ranks on one run, started by Open MPI's `mpirun`.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use web_time::Instant;

use super::program::*;

/// A container's only user may be root; one thread of the software adapter for each rank.
const ENVIRONMENT: [(&str, &str); 3] =
    [("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"), ("LP_NUM_THREADS", "1")];

/// `mpirun` with `n` ranks on this machine, each with one thread of the software adapter.
fn mpirun(n: usize, args: &[String]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "--bind-to", "none", "-n", &n.to_string(), PROGRAM]).args(args);
    command.envs(ENVIRONMENT);
    command
}

/// Six sequences a step, one at a time.
const SIX: [&str; 3] = ["train.batch_size=6", "train.micro_batch_size=1", "distributed.bucket_kib=1"];

impl TestDir {
    fn train_on(&self, n: usize, out: &str, sets: &[&str]) -> Value {
        json(&mpirun(n, &self.train_args(out, &[&SIX, sets].concat())).output().unwrap())
    }

    /// The lines of a run's metrics without their speeds.
    fn metrics(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("metrics.jsonl")).unwrap();
        let line = |line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("tokens_per_sec");
            line
        };
        text.lines().map(line).collect()
    }

    fn weights(&self, out: &str, step: u64) -> Vec<u8> {
        fs::read(self.path(out).join(format!("checkpoints/step-{step:08}/model.safetensors"))).unwrap()
    }

    /// The training losses, then the validation losses.
    fn losses(&self, out: &str) -> [Vec<f64>; 2] {
        let metrics = self.metrics(out);
        ["loss", "eval_loss"].map(|key| metrics.iter().filter_map(|line| line[key].as_f64()).collect())
    }
}

fn furthest(a: &[Vec<f64>; 2], b: &[Vec<f64>; 2]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    assert_eq!(a.each_ref().map(Vec::len), b.each_ref().map(Vec::len));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn one_two_and_three_ranks_make_the_same_run() {
    let place = TestDir::new();
    place.train("alone", &SIX);
    let alone = place.losses("alone");
    for (n, shares) in [(2, vec![3, 3]), (3, vec![2, 2, 2])] {
        let [out, again] = ["", "-again"].map(|which| format!("on-{n}{which}"));
        let summary = place.train_on(n, &out, &[]);
        assert_eq!(summary["exchanged"]["ranks"], n);
        assert_eq!(summary["exchanged"]["micro_batches"], serde_json::json!(shares));
        let off = furthest(&place.losses(&out), &alone);
        assert!(off < 1e-6, "{n} ranks: a loss is off by {off}");
        // The same bits when it is repeated.
        place.train_on(n, &again, &[]);
        assert_eq!(place.metrics(&again), place.metrics(&out));
        assert!(place.weights(&again, 12) == place.weights(&out, 12), "{n} ranks: other weights");
    }
}

#[test]
fn what_travels_may_be_shorter_or_two_numbers_alone() {
    let place = TestDir::new();
    for (name, sets, most) in [
        ("f16", &["distributed.wire=f16", "optimizer.name=adamw", "train.max_grad_norm=1"][..], 2e-3),
        ("mezo", &["optimizer.name=mezo", "optimizer.queries=2"], 1e-6),
        ("shares", &["distributed.shares=measured"], 1e-6),
        ("scaled", &["train.precision=f16"], 1e-3),
    ] {
        let alone = format!("{name}-alone");
        let here: Vec<&str> = SIX.iter().chain(sets).copied().collect();
        place.train(&alone, &here);
        let summary = place.train_on(2, name, sets);
        let off = furthest(&place.losses(name), &place.losses(&alone));
        assert!(off < most, "{name}: a loss is off by {off}");
        assert!(name != "f16" || off > 0.0, "nothing was rounded");
        if name == "mezo" {
            // Two losses and a wish to stop, for two directions and twelve steps, and as much again.
            assert!(summary["exchanged"]["sent_bytes"].as_u64().unwrap() < 1000, "{summary}");
        }
    }
}

#[test]
fn local_steps_average_the_weights() {
    let place = TestDir::new();
    // With plain SGD, averages after every step are steps along the mean gradient.
    let sgd = ["optimizer.name=sgd", "optimizer.lr=0.5", "train.micro_batch_size=3", "distributed.outer_lr=1"];
    let outer = ["distributed.outer_momentum=0", "distributed.local_steps=1"];
    place.train("alone", &[&SIX[..], &sgd].concat());
    place.train_on(2, "averaged", &[&sgd[..], &outer].concat());
    let off =
        furthest(&[Vec::new(), place.losses("averaged")[1].clone()], &[Vec::new(), place.losses("alone")[1].clone()]);
    assert!(off < 1e-5, "a validation loss is off by {off}");

    // Several steps apart, with momentum: resumed to the same bits.
    let diloco = ["distributed.local_steps=3", "train.micro_batch_size=3"];
    place.train_on(2, "whole", &diloco);
    let half = place.train_on(2, "half", &[&diloco[..], &["train.steps=6"]].concat());
    assert_eq!(half["steps"], 6);
    let resumed = ["train", "--resume", &place.text("half"), "--json", "--set", "train.steps=12"].map(str::to_owned);
    // Not the same: the schedule of the first half was another. But it goes on, with its momentum.
    assert_eq!(json(&mpirun(2, &resumed).output().unwrap())["steps"], 12);
    let state = fs::read(place.path("whole/checkpoints/step-00000012/trainer.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&state).contains("outer_momentum.model.norm.weight"));
    let refused = |sets: &[&str], message: &str| {
        let output = mpirun(2, &place.train_args("never", &[&SIX, sets].concat())).output().unwrap();
        assert!(!output.status.success() && stderr(&output).contains(message), "{}", stderr(&output));
    };
    refused(&["distributed.local_steps=4"], "eval.every: 6 is no multiple of distributed.local_steps 4");
    refused(&["distributed.local_steps=3", "train.batch_size=3"], "do not share 3 micro-batches equally");
}

/// The process of a rank.
fn process_of(rank: usize) -> Option<u32> {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.into_iter().find(|number| {
        let has = |file: &str, what: &str| {
            let bytes = fs::read(format!("/proc/{number}/{file}")).unwrap_or_default();
            bytes.split(|byte| *byte == 0).any(|word| word == what.as_bytes())
        };
        has("environ", &wanted) && has("environ", &format!("MULTINORM_TEST_RUN={}", std::process::id()))
    })
}

/// Starts a long run and waits for its first checkpoint.
fn start(place: &TestDir, n: usize, out: &str, sets: &[&str]) -> Child {
    let args = place.train_args(out, &[&SIX[..], &["checkpoint.every=3", "train.steps=100000"], sets].concat());
    let mut command = mpirun(n, &args);
    command.env("MULTINORM_TEST_RUN", std::process::id().to_string());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    place.await_first_checkpoint(out);
    child
}

/// In one test, because it finds ranks by their environment.
#[test]
fn a_rank_that_dies_ends_the_run_and_one_that_stops_stops_it() {
    let place = TestDir::new();
    let child = start(&place, 3, "killed", &["checkpoint.keep=2"]);
    send_signal("KILL", process_of(1).expect("rank 1"));
    let output = ended_within(child, 60);
    assert!(!output.status.success());
    let told = stderr(&output);
    assert!(told.contains("rank 1") && told.contains("signal 9"), "{told}");
    // `mpirun` may end before the last of its processes.
    let began = Instant::now();
    while (0..3).any(|rank| process_of(rank).is_some()) {
        assert!(began.elapsed() < Duration::from_secs(60), "a rank outlives the run");
        std::thread::sleep(Duration::from_millis(10));
    }

    // Goes on with another number of ranks from its last whole checkpoint, as after Slurm's requeue.
    let mut args = place.train_args("killed", &[&SIX[..], &["checkpoint.every=3"]].concat());
    args.extend(["--resume", "auto"].map(str::to_owned));
    let newest = || {
        let steps = fs::read_dir(place.path("killed/checkpoints")).unwrap().flatten();
        steps.filter_map(|e| e.file_name().to_str()?.strip_prefix("step-")?.parse::<u64>().ok()).max().unwrap()
    };
    let last = newest();
    args.extend(["--set".to_owned(), format!("train.steps={}", last + 4)]);
    let resumed = json(&mpirun(2, &args).output().unwrap());
    assert_eq!((resumed["steps"].as_u64(), resumed["stopped"].as_bool()), (Some(last + 4), Some(false)));

    // A signal to any rank stops all of them after the same step.
    let child = start(&place, 2, "stopped", &[]);
    send_signal("TERM", process_of(1).expect("rank 1"));
    let stopped = json(&ended_within(child, 60));
    assert_eq!(stopped["stopped"], true);
    assert!(place.path("stopped/checkpoints").join(format!("step-{:08}", stopped["steps"].as_u64().unwrap())).is_dir());
    // It resumes alone, as if nobody else had ever been there.
    let steps = stopped["steps"].as_u64().unwrap() + 3;
    let resumed =
        program(&["train", "--resume", &place.text("stopped"), "--json", "--set", &format!("train.steps={steps}")]);
    assert_eq!(json(&resumed)["steps"], steps);
}

#[test]
fn what_ranks_cannot_share_is_refused() {
    let place = TestDir::new();
    let refused = |n: usize, sets: &[&str], message: &str| {
        let output = mpirun(n, &place.train_args("never", sets)).output().unwrap();
        assert!(!output.status.success(), "{sets:?}");
        assert!(stderr(&output).contains(message), "{sets:?}: {}", stderr(&output));
    };
    refused(3, &["train.batch_size=2"], "train.batch_size: 2 sequences a step are too few for 3 ranks");
    refused(2, &["train.fused_update=true", "train.micro_batch_size=4"], "train.fused_update");
    // Smaller micro-batches are made, and the run says so.
    let output = mpirun(4, &place.train_args("made", &["train.steps=2"])).output().unwrap();
    assert_eq!(json(&output)["exchanged"]["micro_batches"], serde_json::json!([1, 1, 1, 1]));
    assert!(stderr(&output).contains("micro-batches of 1 sequences instead of 2"), "{}", stderr(&output));
    // Without --out.
    let auto = ["train", &place.text("config.toml"), "--resume", "auto"].map(str::to_owned);
    let output = mpirun(2, &auto).output().unwrap();
    assert!(stderr(&output).contains("--resume: auto goes on with the run in --out"), "{}", stderr(&output));
}

/// Two hosts as network namespaces with a link between them, as far as this machine allows.
struct Hosts {
    names: [String; 2],
}

impl Hosts {
    const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

    fn new() -> Option<Self> {
        let hosts = Self { names: ["a", "b"].map(|end| format!("mn{}{end}", std::process::id())) };
        let [a, b] = &hosts.names;
        let mut commands = vec![format!("netns add {a}"), format!("netns add {b}")];
        commands.push(format!("link add {a} type veth peer name {b}"));
        for (name, address) in hosts.names.iter().zip(Self::ADDRESSES) {
            commands.push(format!("link set {name} netns {name}"));
            commands.push(format!("-n {name} addr add {address}/24 dev {name}"));
            commands.push(format!("-n {name} link set {name} up"));
            commands.push(format!("-n {name} link set lo up"));
        }
        let ip =
            |command: &String| Command::new("ip").args(command.split(' ')).output().is_ok_and(|o| o.status.success());
        commands.iter().all(ip).then_some(hosts)
    }

    /// What `mpirun` starts its daemons with, instead of ssh: a shell in the namespace of an address, with a host name of
    /// its own.
    fn agent(&self, place: &TestDir) -> String {
        let [a, b] = &self.names;
        let [of_a, of_b] = Self::ADDRESSES;
        let script = format!(
            "#!/bin/sh\ncase $1 in {of_a}) name={a} ;; {of_b}) name={b} ;; esac\nshift\n\
             exec ip netns exec $name unshare --uts sh -c \"hostname $name; $*\"\n"
        );
        place.write("agent.sh", &script);
        assert!(Command::new("chmod").args(["+x", &place.text("agent.sh")]).status().unwrap().success());
        place.text("agent.sh")
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

#[test]
fn two_hosts_share_a_run_over_the_network() {
    let Some(hosts) = Hosts::new() else {
        eprintln!("this machine allows no network namespaces: not tested on two hosts");
        return;
    };
    let place = TestDir::new();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &hosts.names[0], "mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2"]);
    command.args(["--host", &Hosts::ADDRESSES.map(|address| format!("{address}:1")).join(",")]);
    // Nothing but the network lies between the two.
    for (key, value) in [
        ("plm_rsh_agent", hosts.agent(&place).as_str()),
        ("btl", "tcp,self"),
        ("btl_tcp_if_include", "10.77.0.0/24"),
        ("oob_tcp_if_include", "10.77.0.0/24"),
    ] {
        command.args(["--mca", key, value]);
    }
    command.arg(PROGRAM).args(place.train_args("on-two-hosts", &SIX));
    command.envs(ENVIRONMENT);
    let summary = json(&command.output().unwrap());
    assert_eq!(summary["exchanged"]["ranks"], 2);
    place.train_on(2, "on-one", &[]);
    assert!(place.weights("on-two-hosts", 12) == place.weights("on-one", 12), "other weights than on one host");
}
