//! Text generation: a key-value cache, temperature and nucleus sampling.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::ModelConfig;
use crate::data::tokenizer::{StreamDecoder, Tokenizer};
use crate::gpu::{Gpu, Recorder, Workspace};
use crate::llama::{Decoder, Gradients, Llama, record_decode};
use crate::{Error, Result};

const PLAN: &str = "decode";

/// A model that decodes one token at a time.
pub struct Generator {
    workspace: Workspace,
    decoding: Decoding,
}

/// The plan that decodes one token with a key-value cache, in its own workspace or alongside a trainer's plans.
pub(crate) struct Decoding {
    decoder: Decoder,
    positions: usize,
    next_position: usize,
}

/// How to sample the next token.
#[derive(Debug)]
pub struct Sampler {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Samples only from the most likely tokens that make up this probability (Holtzman et al., 2020).
    pub top_p: f64,
    rng: ChaCha8Rng,
}

impl Generator {
    /// A model with these weights, in the order of [`ModelConfig::parameters`], and space for `positions` tokens;
    /// missing weights are zero.
    pub async fn new(gpu: &Gpu, config: &ModelConfig, weights: &[Vec<f32>], positions: usize) -> Result<Self> {
        let mut rec = Recorder::new(&gpu.profile);
        let llama = Llama::new(&mut rec, config, Gradients::None);
        let decoding = Decoding::record(&mut rec, &llama, positions);
        let workspace = rec.allocate(gpu).await?;
        llama.write_weights(gpu, &workspace, weights);
        decoding.write_tables(gpu, &workspace);
        Ok(Self { workspace, decoding })
    }

    /// Appends a token and returns the logits of the next one, `[V]`.
    ///
    /// Errors: the cache is full.
    pub async fn push(&mut self, gpu: &Gpu, id: u32) -> Result<Vec<f32>> {
        self.decoding.push(gpu, &self.workspace, id).await
    }

    /// Number of further tokens that fit.
    pub fn room(&self) -> usize {
        self.decoding.room()
    }
}

impl Decoding {
    /// Records the plan, for at most `positions` tokens.
    pub(crate) fn record(rec: &mut Recorder, llama: &Llama, positions: usize) -> Self {
        rec.begin(PLAN);
        Self { decoder: record_decode(rec, llama, positions), positions, next_position: 0 }
    }

    /// Writes the rotary tables.
    pub(crate) fn write_tables(&self, gpu: &Gpu, workspace: &Workspace) {
        let (cos, sin) = self.decoder.rope.values();
        workspace.write(gpu, &self.decoder.rope.cos, &cos);
        workspace.write(gpu, &self.decoder.rope.sin, &sin);
    }

    async fn push(&mut self, gpu: &Gpu, workspace: &Workspace, id: u32) -> Result<Vec<f32>> {
        if self.room() == 0 {
            return Err(Error::TooLarge(format!("the cache has room for {} tokens", self.positions)));
        }
        workspace.write(gpu, &self.decoder.id, &[id]);
        workspace.write(gpu, &self.decoder.rope.start, &[self.next_position as u32]);
        workspace.run(gpu, &[PLAN]);
        self.next_position += 1;
        workspace.read(gpu, &self.decoder.logits).await
    }

    fn room(&self) -> usize {
        self.positions - self.next_position
    }

    /// `prompt` and up to `n` further tokens, fewer if the model ends its text. If the prompt is too long for the
    /// cache, the model reads only its end.
    ///
    /// Errors: a prompt without a token; logits that are not finite.
    pub(crate) async fn continue_text(
        &mut self,
        gpu: &Gpu,
        workspace: &Workspace,
        tokenizer: &Tokenizer,
        prompt: &str,
        n: usize,
        sampler: &mut Sampler,
    ) -> Result<String> {
        let ids = tokenizer.encode(prompt)?;
        // The last sampled token is never fed back.
        let room = (self.positions + 1).saturating_sub(n).clamp(1, self.positions);
        let mut logits = self.read(gpu, workspace, &ids[ids.len().saturating_sub(room)..]).await?;
        let (mut decoder, mut text) = (StreamDecoder::new(tokenizer), prompt.to_owned());
        for n_left in (0..n).rev() {
            let next = sampler.draw(&logits[..tokenizer.vocab_size().min(logits.len())])?;
            if Some(next) == tokenizer.end_of_text() {
                break;
            }
            text += &decoder.push(next)?;
            if n_left == 0 || self.room() == 0 {
                break;
            }
            logits = self.push(gpu, workspace, next).await?;
        }
        Ok(text + &decoder.finish())
    }

    /// Starts over with these tokens, and returns the logits of the next one, `[V]`.
    ///
    /// Errors: no token, or more than fit.
    pub(crate) async fn read(&mut self, gpu: &Gpu, workspace: &Workspace, ids: &[u32]) -> Result<Vec<f32>> {
        self.next_position = 0;
        let Some((last, before)) = ids.split_last() else {
            return Err(Error::Data("a prompt needs at least one token".into()));
        };
        for &id in before {
            self.push(gpu, workspace, id).await?;
        }
        self.push(gpu, workspace, *last).await
    }
}

impl Sampler {
    /// A sampler whose samples depend only on `seed`.
    ///
    /// Errors: a temperature below 0, or `top_p` outside (0, 1].
    pub fn new(temperature: f64, top_p: f64, seed: u64) -> Result<Self> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Error::config("temperature", format!("{temperature} is not a number from 0 up")));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::config("top-p", format!("{top_p} is not above 0 and at most 1")));
        }
        Ok(Self { temperature, top_p, rng: ChaCha8Rng::seed_from_u64(seed) })
    }

    /// Samples a token from logits `[V]`.
    ///
    /// Errors: logits that are not finite.
    pub fn draw(&mut self, logits: &[f32]) -> Result<u32> {
        if let Some(bad) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(Error::NonFinite(format!(
                "the logit of token {bad} is {}: the weights are not usable",
                logits[bad]
            )));
        }
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        if self.temperature == 0.0 {
            return Ok(ids[0]);
        }
        let top = f64::from(logits[ids[0] as usize]);
        let weights: Vec<f64> =
            ids.iter().map(|&id| ((f64::from(logits[id as usize]) - top) / self.temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut nucleus = 0;
        let mut mass = 0.0;
        while nucleus < weights.len() && mass < self.top_p * total {
            mass += weights[nucleus];
            nucleus += 1;
        }
        let mut draw = self.rng.random::<f64>() * mass;
        for (&id, weight) in ids.iter().zip(&weights[..nucleus]) {
            draw -= weight;
            if draw < 0.0 {
                return Ok(id);
            }
        }
        Ok(ids[nucleus - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities_within_the_nucleus() {
        let logits = [0.0, 2.0_f32.ln(), f32::MIN / 4.0, 1.0_f32.ln() - 3.0];
        assert_eq!(Sampler::new(0.0, 1.0, 1).unwrap().draw(&logits).unwrap(), 1);
        let mut sampler = Sampler::new(1.0, 0.9, 1).unwrap();
        let mut counts = [0; 4];
        for _ in 0..3000 {
            counts[sampler.draw(&logits).unwrap() as usize] += 1;
        }
        assert_eq!((counts[2], counts[3]), (0, 0), "outside the nucleus");
        assert!((1800..2200).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn bad_settings_and_logits_are_errors() {
        assert!(Sampler::new(-1.0, 1.0, 0).is_err() && Sampler::new(1.0, 0.0, 0).is_err());
        assert!(Sampler::new(f64::NAN, 1.0, 0).is_err());
        assert!(Sampler::new(1.0, 1.0, 0).unwrap().draw(&[0.0, f32::NAN]).is_err());
    }
}
