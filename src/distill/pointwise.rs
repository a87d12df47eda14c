//! Losses between what a teacher and a student say of one place, and their gradients for the student.

use espalier_kernels::logistic::{sigmoid_of, softplus_of};

/// scale·Σᵢ wᵢ·BCE(sᵢ, σ(tᵢ))·|σ(tᵢ) − σ(sᵢ)|^β of logits (Yang et al. 2023, Bridging Cross-task Protocol Inconsistency for
/// Distillation in Dense Object Detection, <https://arxiv.org/abs/2308.14286>). All slices have one length. The gradient is
/// added to what is there.
pub(super) fn quality(
    teacher: &[f32],
    student: &[f32],
    weights: &[f32],
    beta: f32,
    scale: f32,
    gradient: &mut [f32],
) -> f64 {
    let mut total = 0.0;
    for (((&teacher, &student), &weight), gradient) in teacher.iter().zip(student).zip(weights).zip(gradient) {
        let (wanted, found) = (sigmoid_of(teacher), sigmoid_of(student));
        let (entropy, apart) = (softplus_of(student) - wanted * student, found - wanted);
        let distance = apart.abs();
        let focus = if beta == 1.0 { distance } else { distance.powf(beta) };
        let by_focus = match (beta, distance) {
            (1.0, 0.0) | (0.0, _) => 0.0,
            (1.0, _) => 1.0,
            // At no distance the slope is 0, or endless.
            (_, 0.0) => 0.0,
            (beta, distance) => beta * distance.powf(beta - 1.0),
        };
        total += f64::from(weight * entropy * focus);
        let slope = apart * focus + entropy * by_focus * apart.signum() * found * (1.0 - found);
        *gradient += scale * weight * slope;
    }
    total * f64::from(scale)
}

/// scale·Σₚ wₚ·|tₚ − sₚ| of distances that a head gives as numbers. The gradient is added to what is there.
pub(super) fn distances(teacher: &[f32], student: &[f32], weights: &[f32], scale: f32, gradient: &mut [f32]) -> f64 {
    let mut total = 0.0;
    for (((&teacher, &student), &weight), gradient) in teacher.iter().zip(student).zip(weights).zip(gradient) {
        let apart = student - teacher;
        total += f64::from(weight * apart.abs());
        *gradient += if apart == 0.0 { 0.0 } else { scale * weight * apart.signum() };
    }
    total * f64::from(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEACHER: [f32; 5] = [0.3, -2.0, 1.5, 4.0, -0.7];
    const STUDENT: [f32; 5] = [1.1, -0.5, 1.0, -3.0, -0.9];
    const WEIGHTS: [f32; 5] = [1.0, 0.5, 0.0, 0.25, 2.0];

    fn check(loss: &dyn Fn(&[f32], &mut [f32]) -> f64, expected: f64) {
        let mut gradient = [0.0; 5];
        let value = loss(&STUDENT, &mut gradient);
        assert!((value - expected).abs() < 1e-5 * expected, "{value} against {expected}");
        for index in 0..5 {
            let at = |delta: f32| {
                let mut student = STUDENT;
                student[index] += delta;
                loss(&student, &mut [0.0; 5])
            };
            let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
            let found = f64::from(gradient[index]);
            assert!((numeric - found).abs() < 1e-3 * numeric.abs().max(0.1), "{index}: {numeric} against {found}");
        }
        let mut none = [0.0; 5];
        assert_eq!((loss(&TEACHER, &mut none), none), (0.0, [0.0; 5]));
        let mut broken = STUDENT;
        broken[0] = f32::NAN;
        assert!(loss(&broken, &mut none).is_nan());
    }

    #[test]
    fn quality_is_the_weighted_cross_entropy() {
        for beta in [1.0f32, 2.0, 1.5] {
            let place = |index: usize| {
                let sigmoid = |logit: f32| 1.0 / (1.0 + (-f64::from(logit)).exp());
                let (wanted, found) = (sigmoid(TEACHER[index]), sigmoid(STUDENT[index]));
                let entropy = -wanted * found.ln() - (1.0 - wanted) * (1.0 - found).ln();
                f64::from(WEIGHTS[index]) * entropy * (wanted - found).abs().powf(beta.into())
            };
            let expected = 0.5 * (0..5).map(place).sum::<f64>();
            check(&|student, gradient| quality(&TEACHER, student, &WEIGHTS, beta, 0.5, gradient), expected);
        }
    }

    #[test]
    fn distances_are_summed() {
        let expected = 0.5 * (0.8 + 0.5 * 1.5 + 0.25 * 7.0 + 2.0 * 0.2);
        check(&|student, gradient| distances(&TEACHER, student, &WEIGHTS, 0.5, gradient), expected);
    }
}
