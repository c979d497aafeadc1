//! Matrix products in the three layouts that training needs; [`select`] decides which variant serves a product.

use std::fmt;
use std::str::FromStr;

use super::{MAX_LOOP_ITERATIONS, Output, Target, WORKGROUP_SIZE, check_rounds, flag, reduction_lanes};
use crate::gpu::{Class, DType, Kernel, MAX_GROUPS, Need, Profile, Recorder, Tensor, grid, kernel, kernels};

kernels! {
    MATMUL_STRIDED = "matmul_strided" + "scalar" + "single", with (TypeA = "f32", TypeB = "f32");
    MATMUL_STRIDED_HALF =
        "matmul_strided_half": "matmul_strided" + "scalar" + "half", with (TypeA = "f16", TypeB = "f32", Stored = "f16"),
        needs Need::F16;
    MATMUL_STRIDED_HALF_TN =
        "matmul_tn_strided_half": "matmul_strided" + "scalar" + "single", with (TypeA = "f16", TypeB = "f16"), needs Need::F16;
    MATMUL_NT_UNITS = "matmul_nt_units": "matmul_units",
        needs Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes(25_600);
    MATMUL_NN_UNITS = "matmul_nn_units": "matmul_units",
        needs Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes(25_600);
    MATMUL_TN_UNITS = "matmul_tn_units": "matmul_units",
        needs Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes(25_600);
    LARGEST = "largest" + "reduce";
    SUM_PARTS = "sum_parts" + "vec4" + "single";
    SUM_PARTS_HALF = "sum_parts_half": "sum_parts" + "vec4" + "half", with (Stored = "vec4<f16>"), needs Need::F16;
    MATVEC = "matvec" + "reduce";
}

/// The kernels of tiles, each list a static: f32 for the three layouts, half precision for the three, then its split
/// parts. `LIST = "tile": "nt" "vec4", "nn" "vec4", "tn" "vec4", ["library"]`: the file by layout and what it writes at
/// once; `reads "vec4<f32>" "vec4<f16>"`; `writes "vec4<f16>"`, a half-precision result; `needs [Need]`, of the adapter
/// besides half precision; `and parts` if it splits.
macro_rules! tiles {
    ($($id:ident = $tile:literal:
        $nt:literal $nt_width:literal, $nn:literal $nn_width:literal, $tn:literal $tn_width:literal, $libs:tt,
        reads $single:literal $half:literal, writes $out:literal, needs $needs:tt $(, and $parts:ident)?;)+) => {
        $(
            static $id: [Kernel; 6 $(+ tiles!(@ $parts))?] = [
                tiles!(@ concat!("matmul_nt_", $tile), $nt $libs $nt_width "single", [TypeA = $single, TypeB = $single], [] $needs),
                tiles!(@ concat!("matmul_nn_", $tile), $nn $libs $nn_width "single", [TypeA = $single, TypeB = $single], [] $needs),
                tiles!(@ concat!("matmul_tn_", $tile), $tn $libs $tn_width "single", [TypeA = $single, TypeB = $single], [] $needs),
                tiles!(@ concat!("matmul_nt_", $tile, "_half"),
                    $nt $libs $nt_width "half", [TypeA = $half, TypeB = $single, Stored = $out], [Need::F16,] $needs),
                tiles!(@ concat!("matmul_nn_", $tile, "_half"),
                    $nn $libs $nn_width "half", [TypeA = $half, TypeB = $single, Stored = $out], [Need::F16,] $needs),
                tiles!(@ concat!("matmul_tn_", $tile, "_half"),
                    $tn $libs $tn_width "single", [TypeA = $half, TypeB = $half], [Need::F16,] $needs),
                $(
                    tiles!(@ concat!("matmul_nt_", $tile, "_half_", stringify!($parts)),
                        $nt $libs $nt_width "single", [TypeA = $half, TypeB = $single], [Need::F16,] $needs),
                    tiles!(@ concat!("matmul_nn_", $tile, "_half_", stringify!($parts)),
                        $nn $libs $nn_width "single", [TypeA = $half, TypeB = $single], [Need::F16,] $needs),
                )?
            ];
        )+
        static KERNELS_OF_TILES: &[&[Kernel]] = &[$(&$id),+];
    };
    (@ parts) => {
        2
    };
    (@ $name:expr, $file:literal [$($lib:literal),*] $width:literal $stored:literal, $types:tt,
        [$($of_all:expr,)*] [$($need:expr),*]) => {
        kernel!($name, $file, [$($lib,)* $width, $stored], $types, [$($of_all,)* $($need),*])
    };
}

tiles! {
    OF_REGISTERS = "registers":
        "matmul_nt_registers" "scalar", "matmul_nn_registers" "scalar", "matmul_tn_registers" "vec4", [],
        reads "vec4<f32>" "vec4<f16>", writes "f16", needs [];
    OF_SHUFFLED = "shuffled":
        "matmul_shuffled" "vec4", "matmul_shuffled" "vec4", "matmul_shuffled" "vec4", [],
        reads "vec4<f32>" "vec4<f16>", writes "vec4<f16>", needs [Need::Subgroups(8)];
    OF_TILE_32 = "tile_32":
        "matmul_tile_32" "vec4", "matmul_tile_32" "vec4", "matmul_tile_32" "vec4", [],
        reads "vec4<f32>" "vec4<f16>", writes "vec4<f16>", needs [], and parts;
    OF_TILE_64 = "tile_64":
        "matmul_tile" "vec4", "matmul_tile" "vec4", "matmul_tile" "vec4", ["tile", "depths_straight", "tile_64"],
        reads "vec4<f32>" "vec4<f16>", writes "vec4<f16>", needs [], and parts;
    OF_TILE_128 = "tile_128":
        "matmul_tile" "vec4", "matmul_tile" "vec4", "matmul_tile" "vec4", ["tile", "depths_straight", "tile_128"],
        reads "vec4<f32>" "vec4<f16>", writes "vec4<f16>", needs [], and parts;
    OF_UNALIGNED_64 = "unaligned_64":
        "matmul_tile_unaligned" "scalar", "matmul_tile_unaligned" "scalar", "matmul_tile_unaligned" "scalar",
        ["tile", "depths_looped", "tile_64"],
        reads "f32" "f16", writes "f16", needs [], and parts;
    OF_UNALIGNED_128 = "unaligned_128":
        "matmul_tile_unaligned" "scalar", "matmul_tile_unaligned" "scalar", "matmul_tile_unaligned" "scalar",
        ["tile", "depths_looped", "tile_128"],
        reads "f32" "f16", writes "f16", needs [], and parts;
}

/// The half-precision kernels of a matrix-unit tile, each list a static: the three layouts, then parts for `nt` and
/// `nn`. `LIST = "tile": "file" ["library"], bytes of workgroup memory`.
macro_rules! half_units {
    ($($id:ident = $tile:literal: $file:literal $libs:tt $tn_libs:tt, $bytes:literal;)+) => {
        $(
            static $id: [Kernel; 5] = [
                half_units!(@ concat!("matmul_nt_", $tile), $file $libs "half", $bytes, "vec4<f32>", Stored = "vec4<f16>"),
                half_units!(@ concat!("matmul_nn_", $tile), $file $libs "half", $bytes, "vec4<f32>", Stored = "vec4<f16>"),
                half_units!(@ concat!("matmul_tn_", $tile), $file $tn_libs "single", $bytes, "vec4<f16>"),
                half_units!(@ concat!("matmul_nt_", $tile, "_parts"), $file $libs "single", $bytes, "vec4<f32>"),
                half_units!(@ concat!("matmul_nn_", $tile, "_parts"), $file $libs "single", $bytes, "vec4<f32>"),
            ];
        )+
        static KERNELS_OF_HALF_UNITS: &[&[Kernel]] = &[$(&$id),+];
    };
    (@ $name:expr, $file:literal [$($lib:literal),*] $out:literal, $bytes:literal, $b:literal $(, Stored = $ty:literal)?) => {
        kernel!(
            $name, $file, [$($lib,)* "vec4", $out], [TypeA = "vec4<f16>", TypeB = $b $(, Stored = $ty)?],
            [Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes($bytes)]
        )
    };
}

half_units! {
    OF_HALF_UNITS_32 = "half_units_32": "matmul_half_units" ["half_units", "units_32"] ["half_units", "units_32"], 24_576;
    OF_HALF_UNITS_16 = "half_units_16": "matmul_half_units" ["half_units", "units_16"] ["half_units", "units_16"], 16_384;
    OF_HALF_UNITS_TILE_32 = "half_units_tile_32": "matmul_half_units_tile_32" ["shared_128"] ["shared_64"], 24_576;
}

/// The kernels of a tile, in the order of [`Layout::ALL`].
#[derive(Clone, Copy)]
struct Kernels {
    /// For f32 operands and result.
    single: Option<[&'static Kernel; 3]>,
    /// For f16 activations and f32 weights; the result is f16, except for the product of two activations, which is a
    /// weight's gradient.
    half: Option<[&'static Kernel; 3]>,
    /// The same operands, for the f32 parts of a split sum.
    half_parts: Option<[&'static Kernel; 3]>,
}

impl Kernels {
    /// From one of the lists above.
    const fn of(list: &'static [Kernel]) -> Self {
        let half = [&list[3], &list[4], &list[5]];
        let half_parts = if list.len() > 6 { Some([&list[6], &list[7], &list[5]]) } else { None };
        Self { single: Some([&list[0], &list[1], &list[2]]), half: Some(half), half_parts }
    }

    /// From one of the matrix-unit lists, which have no f32 products.
    const fn of_half_units(list: &'static [Kernel; 5]) -> Self {
        let [nt, nn, tn, nt_parts, nn_parts] = list;
        Self { single: None, half: Some([nt, nn, tn]), half_parts: Some([nt_parts, nn_parts, tn]) }
    }

    /// For f32 only.
    const fn single(single: [&'static Kernel; 3]) -> Self {
        Self { single: Some(single), half: None, half_parts: None }
    }
}

/// Which operand is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// y = a·bᵀ for a `[M, K]` and b `[N, K]`: a linear layer's forward pass.
    Nt,
    /// y = a·b for a `[M, K]` and b `[K, N]`: the gradient of a linear layer's input.
    Nn,
    /// y = aᵀ·b for a `[K, M]` and b `[K, N]`: the gradient of a linear layer's weight.
    Tn,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Self; 3] = [Self::Nt, Self::Nn, Self::Tn];

    fn name(self) -> &'static str {
        match self {
            Self::Nt => "nt",
            Self::Nn => "nn",
            Self::Tn => "tn",
        }
    }

    /// Shapes of both operands of a product.
    pub fn operands(self, [m, n, k]: [usize; 3]) -> [[usize; 2]; 2] {
        match self {
            Self::Nt => [[m, k], [n, k]],
            Self::Nn => [[m, k], [k, n]],
            Self::Tn => [[k, m], [k, n]],
        }
    }

    /// Whether a vec4 may span the contiguous dimension of both operands and of the result.
    fn is_aligned(self, [m, n, k]: [usize; 3]) -> bool {
        let contiguous = match self {
            Self::Nt => [k, k, n],
            Self::Nn => [k, n, n],
            Self::Tn => [m, n, n],
        };
        contiguous.iter().all(|extent| extent.is_multiple_of(4))
    }

    /// Whether K is the contiguous dimension of a, and of b: the kernels' constants.
    fn by_depth(self) -> [(&'static str, f64); 2] {
        let [a, b] = match self {
            Self::Nt => [true, true],
            Self::Nn => [true, false],
            Self::Tn => [false, false],
        };
        [flag("A_BY_DEPTH", a), flag("B_BY_DEPTH", b)]
    }
}

/// The properties of a product that determine its variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Which operand is transposed.
    pub layout: Layout,
    /// Rows and columns of the result, and the inner dimension.
    pub mnk: [usize; 3],
    /// Number of products of this shape computed together.
    pub matrices: usize,
    /// The precision of operands and result.
    pub numbers: Numbers,
}

/// The precision of a product's operands and result in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Numbers {
    /// All in f32.
    Single,
    /// Activations in f16, weights and their gradients in f32. For `nt` and `nn` the first operand and the result are
    /// activations; for `tn`, both operands.
    Half,
}

impl Numbers {
    /// Types of both operands and the result.
    pub fn dtypes(self, layout: Layout) -> [DType; 3] {
        match (self, layout) {
            (Self::Single, _) => [DType::F32; 3],
            (Self::Half, Layout::Nt | Layout::Nn) => [DType::F16, DType::F32, DType::F16],
            (Self::Half, Layout::Tn) => [DType::F16, DType::F16, DType::F32],
        }
    }
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The kernel's tile.
    pub tile: &'static Tile,
    /// Number of parts that the inner dimension is split into; they are summed in order.
    pub parts: usize,
}

/// The kernels listed by tile.
pub(super) fn kernels_of_tiles() -> impl Iterator<Item = &'static Kernel> {
    KERNELS_OF_TILES.iter().chain(KERNELS_OF_HALF_UNITS).copied().flatten()
}

/// A hash (FNV-1a) of all kernel texts: measurements of other kernels are not valid for these.
pub fn fingerprint() -> u64 {
    let all = KERNELS.iter().copied().chain(kernels_of_tiles());
    let bytes = all.flat_map(|kernel| kernel.source().into_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A way to compute pieces of the result: one of [`TILES`].
pub struct Tile {
    /// Name in choices, tables and files.
    pub name: &'static str,
    /// Rows and columns of the result per workgroup.
    pub(super) extent: [usize; 2],
    /// Workgroup size.
    lanes: usize,
    /// Kernels for products in which vec4s span the contiguous dimensions ([`Layout::is_aligned`]).
    aligned: Kernels,
    /// Kernels for other products; `None` if unsupported.
    unaligned: Option<Kernels>,
    /// Whether the inner dimension may be split into parts.
    pub splits: bool,
    /// Whether each operand is a sum of two halves, scaled by its largest element.
    of_halves: bool,
    /// Further requirements on a product.
    fits: fn(&Product) -> bool,
    /// Whether it is worth measuring when the rule chooses another.
    may_be_faster: fn(&Product) -> bool,
    /// Loop iterations per lane for `k` depths, for adapters that limit them; short loops are assumed to be unrolled.
    rounds: fn(layout: Layout, aligned: bool, k: usize) -> usize,
}

/// All tiles a product may use.
pub static TILES: &[&Tile] = &[
    &ROW,
    &STRIDED,
    &REGISTERS,
    &SHUFFLED,
    &TILE_64,
    &TILE_128,
    // Not needed in a page: it measures nothing, and browsers have no matrix units.
    #[cfg(not(target_arch = "wasm32"))]
    &TILE_32,
    #[cfg(not(target_arch = "wasm32"))]
    &UNITS,
    #[cfg(not(target_arch = "wasm32"))]
    &HALF_UNITS,
    #[cfg(not(target_arch = "wasm32"))]
    &HALF_UNITS_16,
    #[cfg(not(target_arch = "wasm32"))]
    &HALF_UNITS_TILE_32,
];

/// One row times a matrix: one workgroup per element.
pub static ROW: Tile = Tile {
    name: "row",
    extent: [1, 1],
    lanes: WORKGROUP_SIZE,
    aligned: Kernels::single([&MATVEC; 3]),
    unaligned: Some(Kernels::single([&MATVEC; 3])),
    splits: false,
    of_halves: false,
    fits: |product| product.mnk[0] == 1 && product.layout == Layout::Nt && product.matrices == 1,
    may_be_faster: |_| false,
    rounds: |_, _, k| k.div_ceil(8),
};

const OF_STRIDED: Kernels = Kernels {
    single: Some([&MATMUL_STRIDED; 3]),
    half: Some([&MATMUL_STRIDED_HALF, &MATMUL_STRIDED_HALF, &MATMUL_STRIDED_HALF_TN]),
    half_parts: None,
};

/// 8×8 per lane, any strides.
pub static STRIDED: Tile = Tile {
    name: "strided",
    extent: [8, 64],
    lanes: 8,
    aligned: OF_STRIDED,
    unaligned: Some(OF_STRIDED),
    splits: false,
    of_halves: false,
    fits: |_| true,
    may_be_faster: |_| false,
    rounds: |_, _, k| k,
};

/// 8×8 per lane, without workgroup memory; the fastest on a software adapter whose subgroups are not of 8 lanes.
pub static REGISTERS: Tile = Tile {
    name: "registers",
    aligned: Kernels::of(&OF_REGISTERS),
    unaligned: None,
    rounds: |layout, _, k| if layout == Layout::Tn { k } else { k / 4 },
    ..STRIDED
};

/// Up to 64×8 per lane, without workgroup memory: the fastest on llvmpipe, whose vectors have 8 lanes.
pub static SHUFFLED: Tile = Tile {
    name: "shuffled",
    aligned: Kernels::of(&OF_SHUFFLED),
    unaligned: None,
    fits: |product| product.mnk[2].is_multiple_of(8),
    rounds: |_, _, k| shuffled_rounds(k, 8),
    ..STRIDED
};

/// Loop iterations for `rows` rows per workgroup.
fn shuffled_rounds(k: usize, rows: usize) -> usize {
    k / 8 * (1 + rows / 8 + rows) + rows
}

/// Rows per workgroup of [`SHUFFLED`]: as many as its loops may take; fewer for a product that would otherwise have
/// fewer workgroups than a processor has cores.
fn shuffled_rows(product: &Product) -> usize {
    const CORES: usize = 8;
    let [m, n, k] = product.mnk;
    let has_work = |rows: usize| rows <= 16 || product.matrices * m.div_ceil(rows) * n.div_ceil(64) >= CORES;
    let fits = |rows: &usize| shuffled_rounds(k, *rows) <= MAX_LOOP_ITERATIONS && has_work(*rows);
    [64, 32, 16].into_iter().find(fits).unwrap_or(8)
}

/// 32×32 per workgroup, whose lanes share the depths: for products of few tiles, which then need no sum of parts.
pub static TILE_32: Tile = Tile {
    name: "tile_32",
    extent: [32, 32],
    lanes: 256,
    aligned: Kernels::of(&OF_TILE_32),
    unaligned: None,
    may_be_faster: |product| product.flops() < LEAST_UNITS_FLOPS,
    rounds: |_, _, k| k.div_ceil(64) * 5, // rounds of 64 depths, four of them per lane
    ..TILE_64
};

/// 64×64 per workgroup, through workgroup memory.
pub static TILE_64: Tile = Tile {
    name: "tile_64",
    extent: [64, 64],
    lanes: 64,
    aligned: Kernels::of(&OF_TILE_64),
    unaligned: Some(Kernels::of(&OF_UNALIGNED_64)),
    splits: true,
    of_halves: false,
    fits: |_| true,
    may_be_faster: |_| true,
    // 16 depths per round: unrolled for aligned operands, otherwise another loop.
    rounds: |_, aligned, k| k.div_ceil(16) * if aligned { 1 } else { 17 },
};

/// 128×128 per workgroup, through workgroup memory.
pub static TILE_128: Tile = Tile {
    name: "tile_128",
    extent: [128, 128],
    lanes: 128,
    aligned: Kernels::of(&OF_TILE_128),
    unaligned: Some(Kernels::of(&OF_UNALIGNED_128)),
    ..TILE_64
};

/// 128×128 per workgroup, on f16 matrix units, each operand as a sum of two halves.
pub static UNITS: Tile = Tile {
    name: "matrix_units",
    of_halves: true,
    aligned: Kernels::single([&MATMUL_NT_UNITS, &MATMUL_NN_UNITS, &MATMUL_TN_UNITS]),
    unaligned: None,
    fits: |product| product.mnk[0].is_multiple_of(16) && product.mnk[1].is_multiple_of(16),
    may_be_faster: |_| false, // where supported, the rule already chooses it
    ..TILE_128
};

/// 128×128 per workgroup, on f16 matrix units: operands that are f16, or are converted while loading.
pub static HALF_UNITS: Tile = Tile {
    name: "half_units",
    aligned: Kernels::of_half_units(&OF_HALF_UNITS_32),
    unaligned: None,
    may_be_faster: |_| true,
    ..TILE_128
};

/// The same in 16 KiB of workgroup memory.
pub static HALF_UNITS_16: Tile = Tile {
    name: "half_units_16",
    aligned: Kernels::of_half_units(&OF_HALF_UNITS_16),
    may_be_faster: |_| false,
    ..HALF_UNITS
};

/// 32×32 per workgroup, on f16 matrix units, whose subgroups share the depths: for products of few tiles.
pub static HALF_UNITS_TILE_32: Tile = Tile {
    name: "half_units_tile_32",
    extent: [32, 32],
    lanes: 256,
    aligned: Kernels::of_half_units(&OF_HALF_UNITS_TILE_32),
    may_be_faster: |product| product.flops() < 4 * LEAST_UNITS_FLOPS,
    rounds: |_, _, k| k.div_ceil(128),
    ..HALF_UNITS
};

/// Workgroups that occupy a large GPU in one wave.
const BUSY: usize = 256;
/// Workgroups beyond which a partly filled last wave matters little.
const MANY: usize = 4 * BUSY;
/// Fewest depths per part: with fewer, summing the parts costs more than they gain.
const LEAST_PART: usize = 64;
/// Most depths to sum on matrix units: the sums lose digits as they grow, up to 2e-5 of a product's size at 2048 depths
/// and 6e-5 at 4096.
const MOST_UNITS_PART: usize = 2048;
/// FLOPs above which a product justifies measuring its operands' range, or a kernel of its own.
const LEAST_UNITS_FLOPS: u64 = 500_000_000;

/// The variant for `product` on an adapter: the fastest measured one, or else the one by rule.
pub fn select(profile: &Profile, product: &Product) -> Variant {
    let measured = profile.choices.get(&product.what(profile)).and_then(|variant| variant.parse().ok());
    let measured = measured.filter(|variant: &Variant| variant.serves(profile, product));
    measured.unwrap_or_else(|| by_rule(profile, product))
}

/// The variants worth measuring for `product`: the one by rule first, then its tile with half and twice the parts, then
/// the other tiles with enough parts to occupy as many lanes of a GPU.
pub fn candidates(profile: &Profile, product: &Product) -> Vec<Variant> {
    let by_rule = by_rule(profile, product);
    let Variant { tile, parts } = by_rule;
    let mut candidates = vec![by_rule];
    if !tile.splits {
        return candidates;
    }
    let halved = [parts / 2, parts * 2].map(|parts| Variant { tile, parts });
    let occupied = |tile: &Tile| {
        tile.lanes * product.mnk.iter().zip(tile.extent).map(|(n, side)| n.div_ceil(side)).product::<usize>()
    };
    // No other tile matches half-precision matrix units, and each takes time to compile.
    let is_rival = |other: &Tile| !tile.is_of_half_units() || other.is_of_half_units();
    let others = TILES.iter().filter(|other| other.splits && **other != tile);
    let others = others.filter(|other| is_rival(other) && (other.may_be_faster)(product));
    let others = others.map(|other| Variant { tile: other, parts: (parts * occupied(tile) / occupied(other)).max(1) });
    for variant in halved.into_iter().chain(others) {
        if variant.serves(profile, product) && !candidates.contains(&variant) {
            candidates.push(variant);
        }
    }
    candidates
}

fn by_rule(profile: &Profile, product: &Product) -> Variant {
    let [m, n, k] = product.mnk;
    let whole = |tile| Variant { tile, parts: 1 };
    let aligned = product.layout.is_aligned(product.mnk);
    let most_parts = product.most_parts(profile);
    if ROW.serves(profile, product) {
        return whole(&ROW);
    }
    if profile.software {
        // Not more rows than its grid has workgroups, nor more depths than its loop is allowed.
        let fits = |blocks: &&Tile| {
            blocks.serves(profile, product)
                && m.div_ceil(blocks.extent[0]) <= MAX_GROUPS as usize
                && (blocks.rounds)(product.layout, aligned, k) <= MAX_LOOP_ITERATIONS
        };
        let blocks: &[&'static Tile] = if aligned { &[&SHUFFLED, &REGISTERS] } else { &[&STRIDED] };
        if let Some(blocks) = blocks.iter().copied().find(fits) {
            return whole(blocks);
        }
        // A part is a whole number of 16-depth rounds, and may be one longer.
        let rounds = (TILE_64.rounds)(product.layout, aligned, k);
        let parts = rounds.div_ceil(MAX_LOOP_ITERATIONS - 17).min(most_parts);
        return Variant { tile: &TILE_64, parts };
    }
    if !aligned && product.flops() < LEAST_UNITS_FLOPS && STRIDED.serves(profile, product) {
        return whole(&STRIDED); // compiling another would take longer than it saves
    }
    let tiles = |side: usize| product.matrices * m.div_ceil(side) * n.div_ceil(side);
    let split = |tile: &'static Tile| {
        let side = tile.extent[0];
        // As many as run in one wave, or so many that the last wave matters little.
        let in_one_go = BUSY / tiles(side).min(BUSY);
        let fills = in_one_go * tiles(side) * 5 >= BUSY * 4;
        let parts = if fills { in_one_go } else { MANY.div_ceil(tiles(side)).min((k / 512).max(in_one_go)) };
        Variant { tile, parts: parts.min(most_parts) }
    };
    #[cfg(not(target_arch = "wasm32"))]
    if product.flops() >= LEAST_UNITS_FLOPS && m.min(n) >= 64 {
        if profile.splits_f32 && UNITS.serves(profile, product) {
            let Variant { tile, parts } = split(&UNITS);
            let variant = Variant { tile, parts: parts.max(k.div_ceil(MOST_UNITS_PART)) };
            if variant.serves(profile, product) {
                return variant;
            }
        }
        if let Some(tile) = [&HALF_UNITS, &HALF_UNITS_16].into_iter().find(|tile| tile.serves(profile, product)) {
            return split(tile);
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    if m.min(n) >= 16 && HALF_UNITS_TILE_32.serves(profile, product) {
        // A small product takes a few microseconds, as does a sum of parts.
        return Variant { tile: &HALF_UNITS_TILE_32, parts: (k / 1024).clamp(1, most_parts) };
    }
    let large = split(&TILE_128);
    if large.parts * tiles(128) * 5 >= BUSY * 4 && k / large.parts >= 4 * LEAST_PART { large } else { split(&TILE_64) }
}

impl Variant {
    fn serves(self, profile: &Profile, product: &Product) -> bool {
        let most_parts = if self.tile.splits { product.most_parts(profile) } else { 1 };
        let is_exact_enough =
            !self.tile.of_halves || profile.splits_f32 && product.mnk[2].div_ceil(self.parts.max(1)) <= MOST_UNITS_PART;
        self.tile.serves(profile, product) && (1..=most_parts).contains(&self.parts) && is_exact_enough
    }
}

/// `tile_128`, or `tile_128 in 3 parts`.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts {
            1 => f.write_str(self.tile.name),
            parts => write!(f, "{} in {parts} parts", self.tile.name),
        }
    }
}

impl FromStr for Variant {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (tile, parts) = match text.split_once(" in ") {
            None => (text, 1),
            Some((tile, parts)) => (tile, parts.strip_suffix(" parts").and_then(|n| n.parse().ok()).ok_or(())?),
        };
        let tile = TILES.iter().find(|other| other.name == tile).ok_or(())?;
        Ok(Self { tile, parts })
    }
}

/// Every tile that supports `product` on an adapter, regardless of parts.
pub fn tiles(profile: &Profile, product: &Product) -> Vec<&'static Tile> {
    TILES.iter().copied().filter(|tile| tile.serves(profile, product)).collect()
}

impl Tile {
    /// Whether it is only for half precision, on matrix units.
    pub fn is_of_half_units(&self) -> bool {
        self.aligned.single.is_none()
    }

    fn serves(&self, profile: &Profile, product: &Product) -> bool {
        let kernel = self.kernel(product, 1);
        kernel.is_some_and(|kernel| profile.runs(kernel)) && (self.fits)(product)
    }

    fn kernel(&self, product: &Product, parts: usize) -> Option<&'static Kernel> {
        let aligned = product.layout.is_aligned(product.mnk);
        let kernels = if aligned { Some(self.aligned) } else { self.unaligned }?;
        let of_numbers = match (product.numbers, parts) {
            (Numbers::Single, _) => kernels.single,
            (Numbers::Half, 1) => kernels.half,
            (Numbers::Half, _) => kernels.half_parts,
        };
        of_numbers.map(|kernels| kernels[product.layout as usize])
    }
}

impl PartialEq for Tile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Tile {}

impl fmt::Debug for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// y (+)= x·wᵀ for x `[M, K]`, w `[N, K]`, y `[M, N]`: a linear layer's forward pass.
pub fn nt(rec: &mut Recorder, x: &Tensor, w: &Tensor, y: &Tensor, output: Output) {
    product(rec, Layout::Nt, [x, w], y, output);
}

/// y (+)= g·w for g `[M, K]`, w `[K, N]`, y `[M, N]`: the gradient of a linear layer's input.
pub fn nn(rec: &mut Recorder, g: &Tensor, w: &Tensor, y: &Tensor, output: Output) {
    product(rec, Layout::Nn, [g, w], y, output);
}

/// y = g·w for each pair of matrices stacked in three-dimensional tensors, bit-identical to computing each alone: it
/// uses the tile chosen for a single one, in one part.
pub fn nn_of_each(rec: &mut Recorder, g: &Tensor, w: &Tensor, y: &Tensor) {
    let product = Product::of(Layout::Nn, [g, w], y);
    let one = Product { matrices: 1, ..product };
    let tile = select(&rec.profile, &one).tile;
    let exact = Variant { tile: &TILE_64, parts: 1 };
    let wanted = Variant { tile, parts: 1 };
    // A single row, and sums too long for matrix units, have no such variant.
    let variant = if wanted.serves(&rec.profile, &product) && *tile != ROW { wanted } else { exact };
    // Not measured itself: it follows the choice for a single product.
    rec.chose(format!("each {}", product.what(&rec.profile)), variant.to_string(), product.flops());
    record(rec, &product, variant, [g, w], Target::new(y, Output::Write));
}

/// y (+)= gᵀ·x for g `[K, M]`, x `[K, N]`, y `[M, N]`.
pub fn tn(rec: &mut Recorder, g: &Tensor, x: &Tensor, y: &Tensor, output: Output) {
    product(rec, Layout::Tn, [g, x], y, output);
}

/// dw (+)= factor · gᵀ·x for g `[K, M]`, x `[K, N]`, dw `[M, N]`: the gradient of a linear layer's weight.
pub fn weight_gradient(rec: &mut Recorder, g: &Tensor, x: &Tensor, dw: Target<'_>) {
    product_to(rec, Layout::Tn, [g, x], dw);
}

/// y (+)= the product of two matrices, or of each pair stacked in three-dimensional tensors.
pub fn product(rec: &mut Recorder, layout: Layout, operands: [&Tensor; 2], y: &Tensor, output: Output) {
    product_to(rec, layout, operands, Target::new(y, output));
}

fn product_to(rec: &mut Recorder, layout: Layout, operands: [&Tensor; 2], target: Target<'_>) {
    let product = Product::of(layout, operands, target.tensor);
    let variant = select(&rec.profile, &product);
    rec.chose(product.what(&rec.profile), variant.to_string(), product.flops());
    record(rec, &product, variant, operands, target);
}

impl Product {
    /// The key of its choice: `product nt 16384x512x1376 of 1, high`; f16 products end in `half` instead.
    pub fn what(&self, profile: &Profile) -> String {
        let [m, n, k] = self.mnk;
        let precision = match (self.numbers, profile.splits_f32) {
            (Numbers::Half, _) => "half",
            (Numbers::Single, true) => "high",
            (Numbers::Single, false) => "highest",
        };
        format!("product {} {m}x{n}x{k} of {}, {precision}", self.layout.name(), self.matrices)
    }

    /// Parses [`Product::what`]: the product, and whether at high precision; `None` for another operation's key.
    pub fn of_words(what: &str) -> Option<(Self, bool)> {
        let (rest, precision) = what.strip_prefix("product ")?.split_once(", ")?;
        let (shape, matrices) = rest.split_once(" of ")?;
        let (layout, mnk) = shape.split_once(' ')?;
        let layout = Layout::ALL.into_iter().find(|other| other.name() == layout)?;
        let extents: Vec<usize> = mnk.split('x').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        let mnk = extents.try_into().ok()?;
        let numbers = if precision == "half" { Numbers::Half } else { Numbers::Single };
        Some((Self { layout, mnk, matrices: matrices.parse().ok()?, numbers }, precision == "high"))
    }

    /// Most parts of the inner dimension: they are summed in vec4s, for a single product, and must fit one binding.
    fn most_parts(&self, profile: &Profile) -> usize {
        let [m, n, k] = self.mnk;
        if !n.is_multiple_of(4) || self.matrices > 1 {
            return 1;
        }
        let of_part = (m * n) as u64 * DType::F32.size();
        let fit = profile.max_binding_bytes.min(profile.max_buffer_bytes) / of_part.max(1);
        (k / LEAST_PART).min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1)
    }

    /// Multiplications plus additions.
    pub(super) fn flops(&self) -> u64 {
        2 * self.matrices as u64 * self.mnk.map(|n| n as u64).iter().product::<u64>()
    }

    /// Panics if shapes or types do not match.
    pub(super) fn of(layout: Layout, [a, b]: [&Tensor; 2], y: &Tensor) -> Self {
        let ([matrices, a_rows, a_cols], [b_matrices, b_rows, b_cols]) = (matrices(a), matrices(b));
        let ([m, k], [n, k_of_b]) = match layout {
            Layout::Nt => ([a_rows, a_cols], [b_rows, b_cols]),
            Layout::Nn => ([a_rows, a_cols], [b_cols, b_rows]),
            Layout::Tn => ([a_cols, a_rows], [b_cols, b_rows]),
        };
        assert_eq!((matrices, k), (b_matrices, k_of_b), "matmul {layout:?}: {:?} and {:?}", a.shape, b.shape);
        assert_eq!(
            self::matrices(y),
            [matrices, m, n],
            "product of {:?} and {:?} into {:?}",
            a.shape,
            b.shape,
            y.shape
        );
        let numbers = if a.dtype == DType::F16 { Numbers::Half } else { Numbers::Single };
        assert_eq!([a.dtype, b.dtype, y.dtype], numbers.dtypes(layout), "types of a product {layout:?}");
        Self { layout, mnk: [m, n, k], matrices, numbers }
    }
}

/// Records a product in the given variant; [`product`] chooses one itself.
///
/// Panics if the variant does not support it: see [`tiles`].
pub fn record(rec: &mut Recorder, product: &Product, variant: Variant, [a, b]: [&Tensor; 2], target: Target<'_>) {
    let Product { layout, mnk: [m, n, k], matrices, .. } = *product;
    let Variant { tile, parts } = variant;
    assert!(tile.serves(&rec.profile, product), "{tile:?} cannot serve {product:?}");
    let rounds = (tile.rounds)(layout, layout.is_aligned(product.mnk), k.div_ceil(parts));
    let what = || format!("a product over {k} numbers in {m} rows");
    check_rounds(rec, rounds, what, "a smaller train.micro_batch_size or train.sequence_length");
    if !tile.splits {
        assert_eq!(parts, 1, "{tile:?} in parts");
        return in_one_part(rec, product, tile, [a, b], target);
    }
    // Parts begin at multiples of a tile's depth.
    let part = k.div_ceil(parts).next_multiple_of(16);
    let parts = k.div_ceil(part);
    let kernel = tile.kernel(product, parts).expect("it serves");
    let parts_of_y =
        (parts > 1).then(|| rec.transient(Class::Scratch, DType::F32, "parts of a product", &[matrices, parts, m, n]));
    let [a_by_depth, b_by_depth] = layout.by_depth();
    let output = if parts > 1 { Output::Write } else { target.output };
    let constants = [
        ("M", m as f64),
        ("N", n as f64),
        ("K", k as f64),
        a_by_depth,
        b_by_depth,
        ("K_PART", part as f64),
        ("PARTS", parts as f64),
        output.constant(),
    ];
    let [rows, cols] = tile.extent;
    let groups = [n.div_ceil(cols), m.div_ceil(rows), matrices * parts].map(|n| n as u32);
    let y = parts_of_y.as_ref().unwrap_or(target.tensor);
    if tile.of_halves {
        let [largest_a, largest_b] = [a, b].map(|operand| largest(rec, operand, matrices));
        rec.dispatch(kernel, &[a, b, &largest_a, &largest_b, y], &constants, groups);
    } else {
        let factor = if parts > 1 { rec.one() } else { target.factor(rec) };
        rec.dispatch(kernel, &[a, b, y, &factor], &constants, groups);
    }
    rec.flops(product.flops());
    if let Some(parts_of_y) = parts_of_y {
        assert_eq!(matrices, 1, "parts of several products");
        sum_parts(rec, &parts_of_y, target);
    }
}

/// y (+)= factor · the sum of `parts` `[1, parts, …]`, in order.
fn sum_parts(rec: &mut Recorder, parts: &Tensor, target: Target<'_>) {
    let Target { tensor: y, output, .. } = target;
    let len = y.len() / 4;
    let constants = [("LEN", len as f64), ("PARTS", parts.shape[1] as f64), output.constant()];
    let kernel = if y.dtype == DType::F16 { &SUM_PARTS_HALF } else { &SUM_PARTS };
    let factor = target.factor(rec);
    rec.dispatch(kernel, &[parts, y, &factor], &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}

/// The largest |x| of each of four times as many shares of a matrix as a workgroup of `matmul_units` has lanes,
/// `[matrices, 512]`: each of several matrices is scaled by its own elements, as it would be alone.
pub fn largest(rec: &mut Recorder, x: &Tensor, matrices: usize) -> Tensor {
    const SHARES: usize = 512;
    rec.derived(x, &LARGEST, |rec| {
        let partial = rec.transient(Class::Scratch, DType::F32, "largest numbers", &[matrices, SHARES]);
        let constants = [("LEN", (x.len() / matrices / 4) as f64), ("WG", 128.0)];
        rec.dispatch(&LARGEST, &[x, &partial], &constants, [SHARES as u32, matrices as u32, 1]);
        partial
    })
}

fn in_one_part(rec: &mut Recorder, product: &Product, tile: &Tile, [a, b]: [&Tensor; 2], target: Target<'_>) {
    let [m, n, k] = product.mnk;
    let (y, kernel) = (target.tensor, tile.kernel(product, 1).expect("it serves"));
    let mut constants = vec![("N", n as f64), ("K", k as f64), target.output.constant()];
    if *tile == ROW {
        constants.push(("WG", reduction_lanes(&rec.profile).min(WORKGROUP_SIZE) as f64));
        rec.dispatch(kernel, &[a, b, y], &constants, grid(n));
        return rec.flops(product.flops());
    }
    constants.push(("M", m as f64));
    if *tile == STRIDED {
        let (a_m, a_k, b_n, b_k) = match product.layout {
            Layout::Nt => (k, 1, k, 1),
            Layout::Nn => (k, 1, 1, n),
            Layout::Tn => (1, m, 1, n),
        };
        constants.extend([("A_M", a_m as f64), ("A_K", a_k as f64), ("B_N", b_n as f64), ("B_K", b_k as f64)]);
    }
    let [mut rows, cols] = tile.extent;
    if *tile == SHUFFLED {
        rows = shuffled_rows(product);
        constants.push(("ROWS", rows as f64));
        constants.extend(product.layout.by_depth());
    }
    let groups = [n.div_ceil(cols), m.div_ceil(rows), product.matrices].map(|n| n as u32);
    let factor = target.factor(rec);
    rec.dispatch(kernel, &[a, b, y, &factor], &constants, groups);
    rec.flops(product.flops());
}

/// Matrices, rows and columns.
pub(super) fn matrices(tensor: &Tensor) -> [usize; 3] {
    match tensor.shape[..] {
        [rows, cols] => [1, rows, cols],
        [matrices, rows, cols] => [matrices, rows, cols],
        _ => panic!("expected a matrix, got {:?}", tensor.shape),
    }
}
