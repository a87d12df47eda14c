//! Which weights of a tensor a plan holds at zero, in a compact form.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Which weights of a tensor are held at zero. In a file the weights are hexadecimal digits, four weights a digit, the first of
/// them in its highest bit; a bit is 1 where a weight is held. The last digit is filled up with 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskPlan {
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// The weights, in the order of the tensor.
    held: Bits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bits(Vec<u8>);

impl MaskPlan {
    /// Of a tensor of this shape: for every weight whether it is held at zero, in the order of the tensor.
    pub fn new(shape: &[usize], held: &[bool]) -> Self {
        let digit = |four: &[bool]| four.iter().enumerate().map(|(at, &bit)| u8::from(bit) << (3 - at)).sum();
        Self { shape: shape.to_vec(), held: Bits(held.chunks(4).map(digit).collect()) }
    }

    /// For every weight whether it is held; none where there are not as many digits as the shape asks for.
    pub fn held(&self) -> Option<Vec<bool>> {
        let count = self.shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent))?;
        if self.held.0.len() != count.div_ceil(4) {
            return None;
        }
        Some((0..count).map(|at| self.held.0[at / 4] >> (3 - at % 4) & 1 == 1).collect())
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |&four: &u8| char::from_digit(u32::from(four), 16).unwrap_or('0');
        serializer.serialize_str(&self.0.iter().map(digit).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |(at, digit): (usize, char)| match digit.to_digit(16) {
            Some(four) => Ok(four as u8),
            None => Err(D::Error::custom(format!("character {at} of `held` is {digit:?}, no hexadecimal digit"))),
        };
        text.chars().enumerate().map(digit).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(held in prop::collection::vec(any::<bool>(), 0..40)) {
            let plan = MaskPlan::new(&[held.len()], &held);
            let text = serde_json::to_string(&plan).unwrap();
            let again: MaskPlan = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(again.held(), Some(held));
            prop_assert_eq!(again, plan);
        }
    }

    #[test]
    fn a_digit_is_four_weights() {
        let plan = MaskPlan::new(&[2, 3], &[true, false, false, true, false, true]);
        assert_eq!(serde_json::to_string(&plan).unwrap(), r#"{"shape":[2,3],"held":"94"}"#);
        let read = |text: &str| serde_json::from_str::<MaskPlan>(text);
        assert_eq!(read(r#"{"shape":[2,3],"held":"9"}"#).unwrap().held(), None);
        assert_eq!(read(&format!(r#"{{"shape":[{0},{0}],"held":"9"}}"#, usize::MAX)).unwrap().held(), None);
        let error = read(r#"{"shape":[2,3],"held":"9x"}"#).unwrap_err().to_string();
        assert!(error.contains("character 1") && error.contains("'x'"), "{error}");
    }
}
