//! The compute dtype as an option.

use espalier_kernels::dtype::ComputeDtype;

use crate::options::{Kind, OptionValue, Value};

const ALL: [ComputeDtype; 2] = [ComputeDtype::Fp32, ComputeDtype::Bf16];
const NAMES: &[&str] = &[name(ALL[0]), name(ALL[1])];

const fn name(dtype: ComputeDtype) -> &'static str {
    match dtype {
        ComputeDtype::Fp32 => "fp32",
        ComputeDtype::Bf16 => "bf16",
    }
}

impl OptionValue for ComputeDtype {
    type Limits = ();

    fn kind(_: Option<()>) -> Kind {
        Kind::Choice(NAMES)
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Text(name(*self).into()))
    }

    fn read(value: &Value) -> Option<Self> {
        ALL.into_iter().find(|dtype| dtype.value().as_ref() == Some(value))
    }
}
