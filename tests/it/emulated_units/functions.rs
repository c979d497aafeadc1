//! The WGSL that replaces cooperative matrices.

use std::fmt::{self, Write};

/// The beginning of every lowered kernel.
///
/// Loops start at a value that is unknown at compile time: unrolled, a kernel's matrices would take the driver's
/// compiler half a minute.
pub const PRELUDE: &str = "
struct EmulatedPlace { source: u32, first: u32, down: u32, across: u32 }  // in scalars
var<private> emulated_lane: u32;
var<private> emulated_zero: u32;
var<private> emulated_poison: f32 = 0.0;

// A matrix beyond its array, or one whose rows do not all begin at a multiple of 16 bytes, which Vulkan wants, is no number,
// nor is any that the lane makes from then on.
fn emulated_fits(index: u32, stride: u32, element_bytes: u32, row_bytes: u32, bytes: u32) -> bool {
    let is_within = max(index, stride) < 0x1000000u && (index + 15u * stride) * element_bytes + row_bytes <= bytes;
    if (is_within && index * element_bytes % 16u == 0u && stride * element_bytes % 16u == 0u) { return true; }
    emulated_poison = bitcast<f32>(0x7fc00000u + emulated_zero);
    return false;
}
";

/// An array from which matrices are loaded, or to which they are stored.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    /// `f16` or `f32`.
    pub scalar: &'a str,
    /// Scalars per element; indices and strides count elements.
    pub width: usize,
    /// Its length as written in the text; `None` for a buffer.
    pub len: Option<&'a str>,
    /// Whether the kernel may write it.
    pub is_written: bool,
}

/// The representation of an operand: see [`super::lowering`].
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Place,
    Numbers,
}

/// The type that replaces a matrix.
pub fn type_of(role: &str) -> &'static str {
    match role {
        "A" => "EmulatedA",
        "B" => "EmulatedB",
        _ => "mat2x4<f32>",
    }
}

/// The multiply-add, for either form of its operands.
pub const MULTIPLY_ADD: &str = "
fn emulated_multiply_add(a: EmulatedA, b: EmulatedB, c: mat2x4<f32>) -> mat2x4<f32> {
    var left = a;
    var right = b;
    var sum = c;
    for (var d = emulated_zero; d < 16u; d++) {
        let rows = emulated_at_depth_A(&left, d);
        let cols = emulated_at_depth_B(&right, d);
        sum[0] += rows.x * cols;
        sum[1] += rows.y * cols;
    }
    sum[0] += emulated_poison;
    sum[1] += emulated_poison;
    return sum;
}
";

/// Writes the type of a role's operand, its loads from these arrays, and the function that returns the numbers a lane
/// multiplies at a depth: two of A, four of B.
pub fn write_operand(
    out: &mut String,
    role: &str,
    numbers: &str,
    sources: &[(&str, Array<'_>)],
    form: Form,
) -> fmt::Result {
    let (ty, read) = match form {
        Form::Place => (format!("alias Emulated{role} = EmulatedPlace;"), "switch (*operand).source {"),
        Form::Numbers => {
            (format!("struct Emulated{role} {{ depths: array<{numbers}, 16> }}"), "return (*operand).depths[d];")
        }
    };
    writeln!(out, "{ty}\nfn emulated_at_depth_{role}(operand: ptr<function, Emulated{role}>, d: u32) -> {numbers} {{")?;
    writeln!(out, "    {read}")?;
    if form == Form::Place {
        for (number, (name, _)) in sources.iter().enumerate() {
            writeln!(out, "        case {number}u: {{ return emulated_read_{role}_{name}(*operand, d); }}")?;
        }
        writeln!(out, "        default: {{ return {numbers}(); }}\n    }}")?;
    }
    writeln!(out, "}}")?;
    for (number, (name, array)) in sources.iter().enumerate() {
        array.write_operand(out, role, number, name, form)?;
    }
    Ok(())
}

impl Array<'_> {
    /// Code that checks whether a matrix fits in the array, and computes the distance in scalars from a number to the
    /// one in the next row, and to the one in the next column.
    fn begin(self, name: &str) -> String {
        let scalar_bytes = if self.scalar == "f16" { 2 } else { 4 };
        let (width, element_bytes, row_bytes) = (self.width, self.width * scalar_bytes, 16 * scalar_bytes);
        let len = self.len.map_or_else(|| format!("arrayLength(&{name})"), |len| format!("u32({len})"));
        format!(
            "    let fits = emulated_fits(index, stride, {element_bytes}u, {row_bytes}u, {len} * {element_bytes}u);
    let first = select(0u, {width}u * index, fits);
    let step = select(0u, {width}u * stride, fits);
    let down = select(1u, step, by_rows);
    let across = select(step, 1u, by_rows);"
        )
    }

    /// Writes the load of an operand, and what a lane reads from it.
    fn write_operand(self, out: &mut String, role: &str, number: usize, name: &str, form: Form) -> fmt::Result {
        let begin = self.begin(name);
        let place = format!("EmulatedPlace({number}u, first, down, across)");
        let loaded = match form {
            Form::Place => format!("    return {place};"),
            Form::Numbers => format!(
                "    var loaded: Emulated{role};
    for (var d = emulated_zero; d < 16u; d++) {{
        loaded.depths[d] = emulated_read_{role}_{name}({place}, d);
    }}
    return loaded;"
            ),
        };
        let (numbers, own, read) = match role {
            "A" => ("vec2<f32>", "emulated_lane / 4u * 2u * place.down + d * place.across", self.read("place.down", 2)),
            _ => ("vec4<f32>", "emulated_lane % 4u * 4u * place.across + d * place.down", self.read("place.across", 4)),
        };
        let read = read.replace("NAME", name);
        write!(
            out,
            "
fn emulated_load_{role}_{name}(index: u32, stride: u32, by_rows: bool) -> Emulated{role} {{
{begin}
{loaded}
}}

fn emulated_read_{role}_{name}(place: EmulatedPlace, d: u32) -> {numbers} {{
    let at = place.first + {own};
{read}
}}
"
        )
    }

    /// Code that reads `len` scalars starting at `at`, `step` apart.
    fn read(self, step: &str, len: usize) -> String {
        let scalars: Vec<String> = (0..len).map(|i| self.element(&format!("(at + {i}u * {step})"), "NAME")).collect();
        let one_by_one = format!("    return vec{len}<f32>(vec{len}({}));", scalars.join(", "));
        // A vec4 takes the driver's compiler no longer than a scalar.
        let at_once = match (self.width, len) {
            (4, 4) => "return vec4<f32>(NAME[at / 4u]);",
            (4, 2) => "let four = NAME[at / 4u]; return vec2<f32>(select(four.xy, four.zw, at % 4u != 0u));",
            _ => return one_by_one,
        };
        format!("    if ({step} == 1u) {{ {at_once} }}\n{one_by_one}")
    }

    pub fn write_load(self, out: &mut String, name: &str) -> fmt::Result {
        let (begin, element) = (self.begin(name), self.element("at", name));
        write!(
            out,
            "
fn emulated_load_C_{name}(index: u32, stride: u32, by_rows: bool) -> mat2x4<f32> {{
{begin}
    var loaded: mat2x4<f32>;
    for (var i = emulated_zero; i < 8u; i++) {{
        let at = first + (emulated_lane / 4u * 2u + i / 4u) * down + (emulated_lane % 4u * 4u + i % 4u) * across;
        let last = {element} + emulated_poison;
        loaded = mat2x4(vec4(loaded[0].yzw, loaded[1].x), vec4(loaded[1].yzw, last));
    }}
    return loaded;
}}
"
        )
    }

    pub fn write_store(self, out: &mut String, name: &str) -> fmt::Result {
        let (begin, element) = (self.begin(name), self.element("at", name));
        write!(
            out,
            "
fn emulated_store_{name}(sum: mat2x4<f32>, index: u32, stride: u32, by_rows: bool) {{
{begin}
    if (!fits) {{ return; }}
    var rest = sum;
    for (var i = emulated_zero; i < 8u; i++) {{
        let at = first + (emulated_lane / 4u * 2u + i / 4u) * down + (emulated_lane % 4u * 4u + i % 4u) * across;
        {element} = rest[0].x;
        rest = mat2x4(vec4(rest[0].yzw, rest[1].x), vec4(rest[1].yzw, 0.0));
    }}
}}
"
        )
    }

    /// One scalar.
    fn element(self, at: &str, name: &str) -> String {
        match self.width {
            1 => format!("{name}[{at}]"),
            width => format!("{name}[{at} / {width}u][{at} % {width}u]"),
        }
    }
}
