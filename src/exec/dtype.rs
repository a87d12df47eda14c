//! The compute dtype as an option.

use espalier_kernels::dtype::ComputeDtype;

use crate::options::{Kind, OptionValue, Value};

const NAMES: &[(&str, ComputeDtype)] = &[("fp32", ComputeDtype::Fp32), ("bf16", ComputeDtype::Bf16)];

impl OptionValue for ComputeDtype {
    type Limits = ();

    fn kind(_: Option<()>) -> Kind {
        Kind::Choice(&["fp32", "bf16"])
    }

    fn value(&self) -> Option<Value> {
        NAMES.iter().find(|(_, dtype)| dtype == self).map(|(name, _)| Value::Text((*name).into()))
    }

    fn read(value: &Value) -> Option<Self> {
        NAMES.iter().find(|(name, _)| *value == Value::Text((*name).into())).map(|(_, dtype)| *dtype)
    }
}
