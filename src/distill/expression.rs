//! A loss as data: what a function did with placeholders, to be done again with every batch.

use candle_core::{D, Tensor};
use candle_nn::ops::{sigmoid, softmax};
use serde::{Deserialize, Serialize};

use super::error::DistillError;

/// A computation with what a teacher and a student give. It is made once, kept in settings, and done with every batch.
///
/// ```
/// use espalier::distill::{Expression, Unary, Binary};
///
/// let apart = Expression::binary(Binary::Subtract, Expression::Teacher, Expression::Student);
/// let loss = Expression::unary(Unary::Mean, Expression::binary(Binary::Multiply, apart.clone(), apart));
/// assert_eq!(loss.to_string(), "mean((t - s) * (t - s))");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// The teacher's features (n, c, h, w).
    Teacher,
    /// The student's features, of the same shape.
    Student,
    /// A number.
    Number(f64),
    /// An operation on one value.
    Unary(Unary, Box<Expression>),
    /// An operation on two values.
    Binary(Binary, Box<Expression>, Box<Expression>),
    /// A value to the power of a number.
    Power(Box<Expression>, f64),
    /// An operation along one axis: 0 images, 1 channels, 2 rows, 3 columns.
    Along(Along, Box<Expression>, usize),
}

/// An operation on one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    /// The mean of all numbers.
    Mean,
    /// The sum of all numbers.
    Sum,
    /// Sizes.
    Abs,
    /// Powers of e.
    Exp,
    /// Natural logarithms.
    Log,
    /// Square roots.
    Sqrt,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// Rows and columns exchanged, the last two axes.
    Transpose,
}

/// An operation on two values, whose axes of extent 1 stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product, place by place.
    Multiply,
    /// Quotient.
    Divide,
    /// Product of matrices, the last two axes.
    Matmul,
}

/// An operation along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Along {
    /// The mean; the axis stays, with extent 1.
    Mean,
    /// The sum; the axis stays, with extent 1.
    Sum,
    /// Shares that add up to 1.
    Softmax,
    /// This axis and all after it as one.
    Flatten,
}

impl Expression {
    /// An operation on one value.
    pub fn unary(operation: Unary, value: Self) -> Self {
        Self::Unary(operation, Box::new(value))
    }

    /// An operation on two values.
    pub fn binary(operation: Binary, a: Self, b: Self) -> Self {
        Self::Binary(operation, Box::new(a), Box::new(b))
    }

    /// What it comes to.
    ///
    /// # Errors
    /// Names the operation that the shapes do not fit.
    pub fn evaluate(&self, teacher: &Tensor, student: &Tensor) -> Result<Tensor, DistillError> {
        let of = |value: &Self| value.evaluate(teacher, student);
        let (result, shapes) = match self {
            Self::Teacher => return Ok(teacher.clone()),
            Self::Student => return Ok(student.clone()),
            Self::Number(number) => (Tensor::new(*number as f32, student.device()), Vec::new()),
            Self::Unary(operation, value) => {
                let value = of(value)?;
                (operation.apply(&value), vec![value.dims().to_vec()])
            }
            Self::Binary(operation, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                (operation.apply(&a, &b), vec![a.dims().to_vec(), b.dims().to_vec()])
            }
            // powf(2) has no gradient at numbers below 0.
            Self::Power(value, exponent) => {
                let value = of(value)?;
                let result = if *exponent == 2.0 { value.sqr() } else { value.powf(*exponent) };
                (result, vec![value.dims().to_vec()])
            }
            Self::Along(operation, value, axis) => {
                let value = of(value)?;
                (operation.apply(&value, *axis), vec![value.dims().to_vec()])
            }
        };
        result.map_err(|_| DistillError::Expression {
            text: self.to_string(),
            reason: format!("shapes {shapes:?} do not fit it"),
        })
    }

    /// Checks that it gives one number for features of this shape.
    ///
    /// # Errors
    /// Names the operation that does not fit, or the shape that it gives.
    pub fn check(&self, shape: [usize; 4]) -> Result<(), DistillError> {
        let features = Tensor::ones(&shape[..], candle_core::DType::F32, &candle_core::Device::Cpu);
        let features = features.map_err(crate::exec::ExecError::from)?;
        let found = self.evaluate(&features, &features)?;
        if found.elem_count() != 1 {
            let reason =
                format!("it gives numbers of shape {:?}, not one; a loss ends in mean(…) or sum(…)", found.dims());
            return Err(DistillError::Expression { text: self.to_string(), reason });
        }
        Ok(())
    }

    /// Whether anything of the student is in it.
    pub fn reads_student(&self) -> bool {
        match self {
            Self::Student => true,
            Self::Teacher | Self::Number(_) => false,
            Self::Unary(_, value) | Self::Power(value, _) | Self::Along(_, value, _) => value.reads_student(),
            Self::Binary(_, a, b) => a.reads_student() || b.reads_student(),
        }
    }
}

impl Unary {
    fn apply(self, value: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Unary::Mean => value.mean_all(),
            Unary::Sum => value.sum_all(),
            Unary::Abs => value.abs(),
            Unary::Exp => value.exp(),
            Unary::Log => value.log(),
            Unary::Sqrt => value.sqrt(),
            Unary::Sigmoid => sigmoid(value),
            Unary::Transpose => value.transpose(D::Minus2, D::Minus1)?.contiguous(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unary::Mean => "mean",
            Unary::Sum => "sum",
            Unary::Abs => "abs",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Sigmoid => "sigmoid",
            Unary::Transpose => "transpose",
        }
    }
}

impl Binary {
    fn apply(self, a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Binary::Add => a.broadcast_add(b),
            Binary::Subtract => a.broadcast_sub(b),
            Binary::Multiply => a.broadcast_mul(b),
            Binary::Divide => a.broadcast_div(b),
            Binary::Matmul => a.contiguous()?.broadcast_matmul(&b.contiguous()?),
        }
    }
}

impl Along {
    fn apply(self, value: &Tensor, axis: usize) -> candle_core::Result<Tensor> {
        match self {
            Along::Mean => value.mean_keepdim(axis),
            Along::Sum => value.sum_keepdim(axis),
            Along::Softmax => softmax(value, axis),
            Along::Flatten => value.flatten_from(axis),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Along::Mean => "mean",
            Along::Sum => "sum",
            Along::Softmax => "softmax",
            Along::Flatten => "flatten",
        }
    }
}

/// As a script would have it.
impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |value: &Self| match value {
            Self::Binary(Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide, ..) => {
                format!("({value})")
            }
            _ => value.to_string(),
        };
        match self {
            Self::Teacher => f.write_str("t"),
            Self::Student => f.write_str("s"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Unary(operation, value) => write!(f, "{}({value})", operation.name()),
            Self::Power(value, exponent) => write!(f, "{} ** {exponent}", part(value)),
            Self::Along(operation, value, axis) => write!(f, "{}({value}, {axis})", operation.name()),
            Self::Binary(Binary::Matmul, a, b) => write!(f, "matmul({a}, {b})"),
            Self::Binary(Binary::Add, a, b) => write!(f, "{} + {}", part(a), part(b)),
            Self::Binary(Binary::Subtract, a, b) => write!(f, "{} - {}", part(a), part(b)),
            Self::Binary(Binary::Multiply, a, b) => write!(f, "{} * {}", part(a), part(b)),
            Self::Binary(Binary::Divide, a, b) => write!(f, "{} / {}", part(a), part(b)),
        }
    }
}
