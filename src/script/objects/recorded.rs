//! What a loss function is recorded with: placeholders that note what is done to them.

use rhai::plugin::*;
use rhai::{Dynamic, FnPtr, Map};
use serde_json::{Value, json};

use super::result::ScriptResult;
use crate::distill::{Along, Binary, Expression, Terms, Unary};
use crate::report::View;
use crate::script::api::Api;
use crate::script::failure::raise_text;
use crate::script::object::Object;
use crate::script::options::plain;

pub fn bind(api: &mut Api) {
    api.object::<Expression>();
    api.functions(exported_manifest!(functions));
}

impl Object for Expression {
    const NAME: &'static str = "Expression";

    fn show(&self, _: View) -> String {
        self.to_string()
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

/// What `loss` takes, in words.
pub const LOSS: &str = "a function |t, s| of the teacher's and the student's features, or a map with such a `function`";

/// Whether a value is what `loss` takes.
pub fn is_loss(value: &Dynamic) -> bool {
    value.is_fnptr() || value.read_lock::<Map>().is_some_and(|map| map.get("function").is_some_and(Dynamic::is_fnptr))
}

/// Calls the function once with placeholders, and adds what it did to the terms.
pub fn record(context: &NativeCallContext, given: &Dynamic, terms: Terms) -> ScriptResult<Terms> {
    let mut options = given.read_lock::<Map>().map(|map| map.clone()).unwrap_or_default();
    let function = options.remove("function").unwrap_or_else(|| given.clone());
    let Some(function) = function.try_cast::<FnPtr>() else { return Err(raise_text(format!("`loss` takes {LOSS}"))) };
    let result: Dynamic = function.call_within_context(context, (Expression::Teacher, Expression::Student))?;
    let kind = result.type_name();
    let expression = result
        .try_cast::<Expression>()
        .ok_or_else(|| raise_text(format!("`loss` gives {kind}; it must give what it computes of t and s")))?;
    let weight = match options.remove("weight") {
        Some(weight) => number(&weight).ok_or_else(|| raise_text("the `weight` of `loss` is a number"))?,
        None => 1.0,
    };
    let text = serde_json::to_string(&expression).map_err(|error| raise_text(error.to_string()))?;
    let mut terms =
        terms.with("loss", weight as f32).with_option("loss", "expression", crate::options::Value::Text(text));
    for (key, value) in options {
        let plain = plain(&value)
            .ok_or_else(|| raise_text(format!("the option `{key}` of `loss` takes no {}", value.type_name())))?;
        terms = terms.with_option("loss", &key, plain);
    }
    Ok(terms)
}

fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().or_else(|_| value.as_int().map(|number| number as f64)).ok()
}

fn operand(value: Dynamic) -> ScriptResult<Expression> {
    if let Some(number) = number(&value) {
        return Ok(Expression::Number(number));
    }
    let kind = value.type_name();
    value
        .try_cast::<Expression>()
        .ok_or_else(|| raise_text(format!("a loss is computed of t, s and numbers, not of {kind}")))
}

fn binary(operation: Binary, a: Dynamic, b: Dynamic) -> ScriptResult<Expression> {
    Ok(Expression::binary(operation, operand(a)?, operand(b)?))
}

fn along(operation: Along, value: Expression, axis: i64) -> ScriptResult<Expression> {
    match usize::try_from(axis) {
        Ok(axis @ 0..=3) => Ok(Expression::Along(operation, Box::new(value), axis)),
        _ => Err(raise_text(format!("an axis is 0 (images), 1 (channels), 2 (rows) or 3 (columns), not {axis}"))),
    }
}

#[export_module(manifest)]
mod functions {
    #[rhai_fn(name = "+", return_raw)]
    pub fn add(a: Expression, b: Dynamic) -> ScriptResult<Expression> {
        binary(Binary::Add, Dynamic::from(a), b)
    }

    #[rhai_fn(name = "+", return_raw)]
    pub fn add_to(a: Dynamic, b: Expression) -> ScriptResult<Expression> {
        binary(Binary::Add, a, Dynamic::from(b))
    }

    #[rhai_fn(name = "-", return_raw)]
    pub fn subtract(a: Expression, b: Dynamic) -> ScriptResult<Expression> {
        binary(Binary::Subtract, Dynamic::from(a), b)
    }

    #[rhai_fn(name = "-", return_raw)]
    pub fn subtract_from(a: Dynamic, b: Expression) -> ScriptResult<Expression> {
        binary(Binary::Subtract, a, Dynamic::from(b))
    }

    #[rhai_fn(name = "*", return_raw)]
    pub fn multiply(a: Expression, b: Dynamic) -> ScriptResult<Expression> {
        binary(Binary::Multiply, Dynamic::from(a), b)
    }

    #[rhai_fn(name = "*", return_raw)]
    pub fn multiply_by(a: Dynamic, b: Expression) -> ScriptResult<Expression> {
        binary(Binary::Multiply, a, Dynamic::from(b))
    }

    #[rhai_fn(name = "/", return_raw)]
    pub fn divide(a: Expression, b: Dynamic) -> ScriptResult<Expression> {
        binary(Binary::Divide, Dynamic::from(a), b)
    }

    #[rhai_fn(name = "/", return_raw)]
    pub fn divide_by(a: Dynamic, b: Expression) -> ScriptResult<Expression> {
        binary(Binary::Divide, a, Dynamic::from(b))
    }

    #[rhai_fn(name = "-")]
    pub fn negate(value: Expression) -> Expression {
        Expression::binary(Binary::Multiply, Expression::Number(-1.0), value)
    }

    #[rhai_fn(name = "**", return_raw)]
    pub fn power(value: Expression, exponent: Dynamic) -> ScriptResult<Expression> {
        let exponent = number(&exponent).ok_or_else(|| raise_text("in a loss a power is a number"))?;
        Ok(Expression::Power(Box::new(value), exponent))
    }

    /// In a loss: a value to the power of a number.
    #[rhai_fn(return_raw)]
    pub fn pow(value: Expression, exponent: Dynamic) -> ScriptResult<Expression> {
        power(value, exponent)
    }

    /// In a loss: the product of matrices, the last two axes of both.
    #[rhai_fn(return_raw)]
    pub fn matmul(a: Expression, b: Expression) -> ScriptResult<Expression> {
        binary(Binary::Matmul, Dynamic::from(a), Dynamic::from(b))
    }

    /// In a loss: the mean of all numbers.
    pub fn mean(value: Expression) -> Expression {
        Expression::unary(Unary::Mean, value)
    }

    /// In a loss: the mean along an axis, which stays: 0 images, 1 channels, 2 rows, 3 columns.
    #[rhai_fn(name = "mean", return_raw)]
    pub fn mean_along(value: Expression, axis: i64) -> ScriptResult<Expression> {
        along(Along::Mean, value, axis)
    }

    /// In a loss: the sum of all numbers.
    pub fn sum(value: Expression) -> Expression {
        Expression::unary(Unary::Sum, value)
    }

    /// In a loss: the sum along an axis, which stays.
    #[rhai_fn(name = "sum", return_raw)]
    pub fn sum_along(value: Expression, axis: i64) -> ScriptResult<Expression> {
        along(Along::Sum, value, axis)
    }

    /// In a loss: sizes without signs.
    pub fn abs(value: Expression) -> Expression {
        Expression::unary(Unary::Abs, value)
    }

    /// In a loss: powers of e.
    pub fn exp(value: Expression) -> Expression {
        Expression::unary(Unary::Exp, value)
    }

    /// In a loss: natural logarithms.
    pub fn log(value: Expression) -> Expression {
        Expression::unary(Unary::Log, value)
    }

    /// In a loss: square roots.
    pub fn sqrt(value: Expression) -> Expression {
        Expression::unary(Unary::Sqrt, value)
    }

    /// In a loss: 1 / (1 + e⁻ˣ).
    pub fn sigmoid(value: Expression) -> Expression {
        Expression::unary(Unary::Sigmoid, value)
    }

    /// In a loss: rows and columns exchanged.
    pub fn transpose(value: Expression) -> Expression {
        Expression::unary(Unary::Transpose, value)
    }

    /// In a loss: shares along an axis that add up to 1.
    #[rhai_fn(return_raw)]
    pub fn softmax(value: Expression, axis: i64) -> ScriptResult<Expression> {
        along(Along::Softmax, value, axis)
    }

    /// In a loss: this axis and all after it as one.
    #[rhai_fn(return_raw)]
    pub fn flatten(value: Expression, axis: i64) -> ScriptResult<Expression> {
        along(Along::Flatten, value, axis)
    }
}

#[cfg(test)]
mod tests {
    use crate::script::{Failure, Session, Settings};

    fn shown(code: &str) -> Result<String, String> {
        let mut session = Session::new(Settings::default());
        let start = "let net = yolo(\"yolov5n\", #{ width: 0.125, classes: 2, seed: 1 });";
        assert!(session.evaluate("prompt", start).is_ok());
        match session.evaluate("prompt", code) {
            Ok(value) => Ok(session.text(&value)),
            Err(Failure::Error(report)) => Err(report.message.clone()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_function_is_recorded_as_it_was_written() {
        let loss = |text: &str| shown(&format!("distiller(net, net, #{{ loss: {text} }})")).unwrap();
        assert!(loss("|t, s| mean((t - s) * (t - s))").contains("\"mean((t - s) * (t - s))\""));
        assert!(
            loss("#{ function: |t, s| sum(abs(t - s)) / 3, weight: 0.5, taps: \"backbone\" }").contains("backbone")
        );
        let all = "|t, s| { let d = softmax(flatten(t, 2), 2) * (log(softmax(flatten(s, 2), 2)) - 1.0); \
                   -mean(sum(d, 2)) + mean(sqrt(exp(sigmoid(s))) ** 2) + mean(matmul(s, transpose(t)) / 100.0) }";
        assert!(loss(all).contains("loss"));
    }

    #[test]
    fn what_cannot_be_done_is_found_at_once() {
        let error = |text: &str| shown(&format!("distiller(net, net, #{{ loss: {text} }})")).unwrap_err();
        let says = |text: &str, words: &[&str]| {
            let error = error(text);
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        };
        says("|t, s| meen(t - s)", &["meen"]);
        says("|t, s| t - s", &["t - s", "[2,", "not one"]);
        says(
            "|t, s| mean(matmul(flatten(t, 1), flatten(s, 1)))",
            &["matmul(flatten(t, 1), flatten(s, 1))", "do not fit"],
        );
        says("|t, s| mean(t)", &["does not depend on the student"]);
        says("|t, s| 3", &["i64", "must give"]);
        says("|t, s| mean(s, 4)", &["axis", "4"]);
        says("3", &["\"loss\" of distiller takes a function"]);
        says("#{ function: |t, s| mean(t - s), wait: 1 }", &["wait", "weight"]);
    }
}
