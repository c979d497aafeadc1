//! `multinorm generate`.

use std::path::PathBuf;

use clap::Args;
use multinorm::data::tokenizer::StreamDecoder;
use multinorm::generate::{Generator, Sampler};
use multinorm::{Error, Result};
use serde_json::json;
use web_time::Instant;

use super::DeviceArgs;
use super::console::{is_closed, note, out, write_out};
use super::model::Model;
use super::output::print_json;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm generate runs/mine --prompt \"It was\"
  multinorm generate runs/mine --prompt - --temperature 0 < beginning.txt
  multinorm generate SmolLM2-135M-Instruct.Q4_1.gguf --prompt \"Once upon a time\" --max-tokens 60")]
pub struct GenerateArgs {
    /// A model, checkpoint or run directory, or a .gguf file
    model: PathBuf,
    /// The text to continue; `-` reads it from standard input
    #[arg(long)]
    prompt: String,
    /// Maximum number of tokens to generate
    #[arg(long, value_name = "N", default_value_t = 200)]
    max_tokens: usize,
    /// Sampling temperature; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f64,
    /// Nucleus sampling: draw only from the most likely tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    top_p: f64,
    /// Random seed; the same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Print one JSON document once the text is complete
    #[arg(long)]
    json: bool,
}

pub fn run(device: &DeviceArgs, args: &GenerateArgs) -> Result<()> {
    let mut sampler = Sampler::new(args.temperature, args.top_p, args.seed)?;
    let text = match args.prompt.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()).map_err(Error::io("read", "standard input"))?,
        text => text.to_owned(),
    };
    let model = Model::load(&args.model)?;
    model.check_finite()?;
    let tokenizer = model.tokenizer()?;
    let mut prompt = tokenizer.encode(&text)?;
    if prompt.is_empty() {
        let start = tokenizer.end_of_text();
        prompt.push(
            start.ok_or_else(|| Error::Data("an empty prompt needs a tokenizer with an end-of-text token".into()))?,
        );
    }
    let positions = model.config.max_position_embeddings;
    if prompt.len() >= positions {
        return Err(Error::TooLarge(format!(
            "the prompt has {} tokens, and the model has {positions} positions: shorten it",
            prompt.len()
        )));
    }
    let room = positions.min(prompt.len() + args.max_tokens);
    let gpu = device.open()?;
    pollster::block_on(async {
        let mut generator = Generator::new(&gpu, &model.config, &model.weights, room).await?;
        // With `--json` all of the text goes into the document.
        let mut written_text = text.clone();
        let mut write =
            |piece: &str| if args.json { written_text += piece } else { write_out(format_args!("{piece}")) };
        if !args.json {
            write_out(format_args!("{text}"));
        }
        let mut logits = Vec::new();
        for &id in &prompt {
            logits = generator.push(&gpu, id).await?;
        }
        let began = Instant::now();
        let mut written = 0;
        let mut decoder = StreamDecoder::new(&tokenizer);
        let end = loop {
            if written == args.max_tokens {
                break "reached --max-tokens".to_owned();
            }
            if is_closed() {
                break "standard output was closed".into();
            }
            let id = sampler.draw(&logits)?;
            if Some(id) == tokenizer.end_of_text() {
                break "end of text".into();
            }
            if id as usize >= tokenizer.vocab_size() {
                break format!("the model chose id {id}, which the tokenizer does not have");
            }
            write(&decoder.push(id)?);
            written += 1;
            if generator.room() == 0 {
                break format!("all {positions} positions are used");
            }
            logits = generator.push(&gpu, id).await?;
        };
        write(&decoder.finish());
        let secs = began.elapsed().as_secs_f64();
        if args.json {
            return print_json(&json!({
                "prompt": text,
                "text": written_text,
                "prompt_tokens": prompt.len(),
                "tokens": written,
                "tokens_per_sec": written as f64 / secs,
                "stopped": end,
            }));
        }
        out!();
        note!("{written} tokens, {:.1} tokens/s; stopped: {end}", written as f64 / secs);
        Ok(())
    })
}
