//! Tokenizers, corpora, splits and batches: from text to `[batch, sequence]` token ids.
//!
//! The stages: `sources` finds [`documents`], which are read in chunks, repeatedly if needed, because they may be
//! larger than memory; `split` holds some of them out; [`tokenizer`] encodes them to ids; [`tokens`] keeps the ids in
//! memory or maps them from shards on disk; [`batches`] cuts windows out of them; [`baseline`] computes the loss of a
//! bigram table. [`dataset`] runs all stages, with a cache.
//!
//! This module depends on neither a GPU nor a model. Everything that needs no files or external programs works in a
//! browser: see [`dataset::Dataset::from_documents`].
//!
//! ```
//! use multinorm::data::batches::Batches;
//! use multinorm::data::tokens::Tokens;
//!
//! // Two sequences of four tokens a step; targets are the tokens that follow.
//! let tokens = Tokens::Owned((0..100).collect());
//! let batches = Batches::new(&tokens, 2, 4, 0)?;
//! let [mut ids, mut targets] = [[0; 8]; 2];
//! batches.fill(0, &mut ids, &mut targets)?;
//! assert!(ids.iter().zip(&targets).all(|(id, target)| id + 1 == *target));
//! # Ok::<(), multinorm::Error>(())
//! ```

pub mod baseline;
pub mod batches;
mod byte_level;
mod chunk;
pub mod corpus;
pub mod dataset;
pub mod documents;
mod encode;
#[cfg(any(feature = "tokenizers", feature = "parquet"))]
mod guard;
#[cfg(not(target_arch = "wasm32"))]
pub mod npy;
pub mod progress;
#[cfg(not(target_arch = "wasm32"))]
pub mod shards;
#[cfg(not(target_arch = "wasm32"))]
pub mod sources;
mod split;
#[cfg(feature = "tokenizers")]
pub mod tokenizer;
#[cfg(not(feature = "tokenizers"))]
#[path = "byte_tokenizer.rs"]
pub mod tokenizer;
pub mod tokens;
mod vocabulary;
pub mod windows;

#[cfg(not(target_arch = "wasm32"))]
mod apt;
#[cfg(not(target_arch = "wasm32"))]
mod builtin;
#[cfg(not(target_arch = "wasm32"))]
mod cache;
#[cfg(not(target_arch = "wasm32"))]
mod markup;
#[cfg(not(target_arch = "wasm32"))]
mod rdata;
#[cfg(not(target_arch = "wasm32"))]
mod rust_book;
#[cfg(not(target_arch = "wasm32"))]
mod sword;
#[cfg(not(target_arch = "wasm32"))]
mod text_files;
