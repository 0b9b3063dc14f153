//! One spelling for every way to write the same JSON: Python's `json.dumps(json.loads(params), sort_keys=True)`.
//!
//! Guarantees: equal to CPython's byte for byte, ASCII throughout; the canonical form of a canonical form is itself.
//! Nesting is bounded by [`PARAMS_DEPTH_MAX`], integers by [`INTEGER_DIGITS_MAX`], and time by n log n of the input.
//! Refused, though Python takes them: `NaN` and the infinities (also as a float that overflows), lone surrogates,
//! nesting deeper than the bound.
//! The parts: `reader` knows the grammar, `string` and `number` their literals, `order` puts members in order.

mod error;
mod number;
mod order;
mod reader;
mod string;

pub use error::ParamsError;
pub use number::INTEGER_DIGITS_MAX;
pub use reader::PARAMS_DEPTH_MAX;

/// Appends the canonical form of a JSON document.
///
/// Members are sorted by key in code-point order at every depth, the last of equal keys stands; separators are `", "` and
/// `": "`; what is not printable ASCII is escaped as `\uXXXX`; integers stand as written, floats as Python's `repr`.
///
/// # Errors
/// [`ParamsError`] when `json` is no JSON or exceeds a bound; nothing is appended then.
pub fn canonical_params(json: &[u8], out: &mut Vec<u8>) -> Result<(), ParamsError> {
    let json = str::from_utf8(json).map_err(|error| ParamsError::NotUtf8 { at: error.valid_up_to() })?;
    reader::read(json)?.write_to(out);
    Ok(())
}

#[cfg(test)]
mod tests;
