//! `multinorm normalize`: what a list of passes does to one matrix.

use std::path::{Path, PathBuf};

use clap::Args;
use multinorm::config::Pass;
use multinorm::files::write_atomic;
use multinorm::normalize::{
    Entry, Matrix, Options, Report, check_folder, check_out, normalize, picture, read_matrix, write_matrix,
};
use multinorm::spectrum::Spectrum;
use multinorm::{Error, Result};

use super::DeviceArgs;
use super::console::out;
use super::output::print_json;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm normalize g.npy --passes row,column --spectrum --plot g.svg
  multinorm normalize weights.safetensors --tensor model.layers.0.mlp.up_proj.weight --passes standardize,spectral:cubic:10
  multinorm normalize g.npy --passes row,column --iterations 100 --tolerance 1e-6 --out balanced.npy")]
pub struct NormalizeArgs {
    /// A floating-point matrix: .safetensors or .npy; a one-dimensional array is one row
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which tensor of a .safetensors file [default: its only matrix]
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// The passes of one iteration: `row,column`, or any of row, column, standardize, spectral:VARIANT:STEPS, sign,
    /// frobenius, max
    #[arg(long, value_name = "PASS,…", required = true)]
    passes: Vec<String>,
    /// Number of iterations [default: 5 if all passes are row or column, else 1]
    #[arg(long, value_name = "L")]
    iterations: Option<u32>,
    /// Stop after the first iteration, from the second on, whose root-mean-square change of X is at most this
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    tolerance: f64,
    /// Also compute the singular values after every pass
    #[arg(long)]
    spectrum: bool,
    /// Write the final X as float32: .npy or .safetensors
    #[arg(long, value_name = "X.npy")]
    out: Option<PathBuf>,
    /// Plot the distance from balance by half-step, and with --spectrum the singular values before and after
    #[arg(long, value_name = "X.svg")]
    plot: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(device: &DeviceArgs, args: &NormalizeArgs) -> Result<()> {
    let options = options(args)?;
    args.out.as_deref().map_or(Ok(()), check_out)?;
    args.plot.as_deref().map_or(Ok(()), check_plot)?;
    for (option, path) in [("--out", &args.out), ("--plot", &args.plot)] {
        if let Some(path) = path
            && is_same_file(path, &args.file)
        {
            let message = format!("{} is the input file: choose another name", path.display());
            return Err(Error::config(option, message));
        }
    }
    let matrix = read_matrix(&args.file, args.tensor.as_deref())?;
    let gpu = device.open()?;
    let mut last = Vec::new();
    if !args.json {
        print_head(&matrix, &options);
    }
    let report = pollster::block_on(normalize(&gpu, &matrix, &options, |entry, x| {
        if !args.json {
            out!("{}", line(entry));
        }
        if args.out.is_some() {
            last = x.to_vec();
        }
    }))?;
    if let Some(path) = &args.out {
        write_matrix(path, matrix.shape(), &last)?;
    }
    if let Some(path) = &args.plot {
        let [m, n] = matrix.shape();
        write_atomic(path, picture(&format!("{}, {m}×{n}", matrix.name()), &report).as_bytes())?;
    }
    if args.json {
        return print_json(&report);
    }
    print_rates(&report, &options);
    Ok(())
}

/// Whether two paths name the same file, also through links.
fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn options(args: &NormalizeArgs) -> Result<Options> {
    let passes = Pass::parse_list(&args.passes).map_err(|message| Error::config("--passes", message))?;
    if passes.is_empty() {
        return Err(Error::config("--passes", "is empty; `row,column` is SinkGD's list"));
    }
    let iterations = args.iterations.unwrap_or(if are_rows_and_columns(&passes) { 5 } else { 1 });
    if iterations == 0 {
        return Err(Error::config("--iterations", "must be at least 1, got 0"));
    }
    if !(args.tolerance >= 0.0 && args.tolerance.is_finite()) {
        return Err(Error::config("--tolerance", format!("must be 0 or more, got {}", args.tolerance)));
    }
    Ok(Options { passes, iterations, tolerance: args.tolerance, spectrum: args.spectrum })
}

/// Rejects an unusable path before anything is computed.
fn check_plot(path: &Path) -> Result<()> {
    if path.extension().is_none_or(|extension| extension != "svg") {
        return Err(Error::config("--plot", format!("{} does not end in .svg", path.display())));
    }
    check_folder(path)
}

fn print_head(matrix: &Matrix, options: &Options) {
    let [m, n] = matrix.shape();
    out!("{}, {m}×{n}", matrix.name());
    out!("frobenius: ‖X‖_F/√(mn); rows: |norm/√n − 1|, largest and root mean square; columns: |norm/√m − 1|\n");
    let mut head = format!(
        "{:>4}  {:<24}{:>12}{:>11}{:>11}{:>13}{:>13}{:>14}{:>14}",
        "iter", "pass", "frobenius", "rows max", "rows rms", "columns max", "columns rms", "cos(X, last)", "cos(X, G)"
    );
    if options.spectrum {
        head += &format!("{:>12}{:>12}{:>12}{:>10}", "σ largest", "σ median", "σ smallest", "eff. rank");
    }
    out!("{head}");
}

fn line(Entry { pass, iteration, quantities: of }: &Entry) -> String {
    let mut line = format!(
        "{iteration:>4}  {pass:<24}{:>12}{:>11.2e}{:>11.2e}{:>13.2e}{:>13.2e}{:>14}{:>14}",
        plain(of.frobenius),
        of.row_deviation_max,
        of.row_deviation_rms,
        of.column_deviation_max,
        of.column_deviation_rms,
        cosine(of.cosine_to_previous),
        cosine(of.cosine_to_gradient)
    );
    if let Some(Spectrum { singular_values, operator_norm, effective_rank }) = &of.spectrum {
        let [median, smallest] = [singular_values.len() / 2, singular_values.len() - 1].map(|at| singular_values[at]);
        let [largest, median, smallest] = [*operator_norm, median, smallest].map(plain);
        line += &format!("{largest:>12}{median:>12}{smallest:>12}{effective_rank:>10.2}");
    }
    line
}

/// Lists like SinkGD's, which converge to a limit known beforehand.
fn are_rows_and_columns(passes: &[Pass]) -> bool {
    passes.iter().all(|pass| matches!(pass, Pass::Row | Pass::Column))
}

fn print_rates(report: &Report, options: &Options) {
    let last = report.passes.last().map_or(0, |entry| entry.iteration);
    out!();
    if last < options.iterations {
        out!("Ended after iteration {last} of {}: no pass of it changed X by more.", options.iterations);
    }
    out!("The deviation after an iteration, over that before it:");
    let rate = |rate: Option<f64>, none: &str| rate.map_or(format!("none: {none}"), |rate| format!("{rate:.6}"));
    let without = if are_rows_and_columns(&options.passes) {
        "this matrix has no limit: it is zero, a block of zeros is too large, or only one side is scaled"
    } else {
        "the list is not of row and column passes"
    };
    out!("predicted    {}", rate(report.rate_predicted, without));
    let without = "no two iterations ended on a deviation above float32's rounding";
    out!("observed     {}", rate(report.rate_observed, without));
}

/// Plain notation where seven characters are enough, else scientific.
fn plain(x: f64) -> String {
    if x == 0.0 || (1e-3..1e5).contains(&x) { format!("{x:.5}") } else { format!("{x:.3e}") }
}

fn cosine(cosine: Option<f64>) -> String {
    cosine.map_or("-".into(), |cosine| format!("{cosine:.8}"))
}
