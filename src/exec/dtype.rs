//! The compute dtype as an option.

use espalier_kernels::dtype::ComputeDtype;

use crate::options::{Kind, OptionValue, Value};

const ALL: [ComputeDtype; 2] = [ComputeDtype::Fp32, ComputeDtype::Bf16];
const NAMES: &[&str] = &[ALL[0].name(), ALL[1].name()];

impl OptionValue for ComputeDtype {
    type Limits = ();

    fn kind(_: Option<()>) -> Kind {
        Kind::Choice(NAMES)
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Text(self.name().into()))
    }

    fn read(value: &Value) -> Option<Self> {
        ALL.into_iter().find(|dtype| dtype.value().as_ref() == Some(value))
    }
}
