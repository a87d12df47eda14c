//! Kullback–Leibler divergences between what a teacher and a student say, and their gradients for the student.
//!
//! All are scaled by the temperature squared, so that their gradients keep their size as the temperature changes
//! (Hinton, Vinyals and Dean 2015, <https://arxiv.org/abs/1503.02531>). Gradients are added to what is there.

/// T²·scale·Σᵢ wᵢ·KL(σ(tᵢ/T) ‖ σ(sᵢ/T)) of independent logits, such as objectness and class scores. All slices have one
/// length; without `weights` every wᵢ is 1.
pub(super) fn bernoulli(
    teacher: &[f32],
    student: &[f32],
    weights: Option<&[f32]>,
    temperature: f32,
    scale: f32,
    gradient: &mut [f32],
) -> f64 {
    let mut total = 0.0;
    for (index, ((&t, &s), gradient)) in teacher.iter().zip(student).zip(gradient).enumerate() {
        let weight = scale * weights.map_or(1.0, |weights| weights[index]);
        let (t, s) = (t / temperature, s / temperature);
        let wanted = sigmoid(t);
        let divergence = softplus(s) - softplus(t) + wanted * (t - s);
        total += f64::from(weight * divergence);
        *gradient += weight * temperature * (sigmoid(s) - wanted);
    }
    total * f64::from(temperature * temperature)
}

/// T²·scale·Σₚ wₚ·KL(softmax(tₚ/T) ‖ softmax(sₚ/T)) of distributions over `bins` planes: bin b of place p lies at
/// b·places + p, as the distances of a YOLOv8 head do. `weights` has a number a place.
pub(super) fn over_planes(
    teacher: &[f32],
    student: &[f32],
    weights: &[f32],
    temperature: f32,
    scale: f32,
    gradient: &mut [f32],
) -> f64 {
    let places = weights.len();
    let bins = teacher.len() / places.max(1);
    let (mut wanted, mut found) = (vec![0.0; bins], vec![0.0; bins]);
    let mut total = 0.0;
    for (place, &weight) in weights.iter().enumerate() {
        let gather = |from: &[f32], into: &mut [f32]| {
            into.iter_mut().enumerate().for_each(|(bin, number)| *number = from[bin * places + place] / temperature);
            softmax(into)
        };
        let normalisers = (gather(teacher, &mut wanted), gather(student, &mut found));
        let mut divergence = normalisers.1 - normalisers.0;
        for bin in 0..bins {
            let at = bin * places + place;
            divergence += wanted[bin] * (teacher[at] - student[at]) / temperature;
            gradient[at] += scale * weight * temperature * (found[bin] - wanted[bin]);
        }
        total += f64::from(scale * weight * divergence);
    }
    total * f64::from(temperature * temperature)
}

/// T²·scale·KL(softmax(t/T) ‖ softmax(s/T)) of one distribution over all the numbers of a slice: where a channel looks
/// (Shu et al. 2021, Channel-wise Knowledge Distillation for Dense Prediction, <https://arxiv.org/abs/2011.13256>).
/// `buffers` are two scratch slices of the same length.
pub(super) fn over_places(
    teacher: &[f32],
    student: &[f32],
    temperature: f32,
    scale: f32,
    buffers: [&mut [f32]; 2],
    gradient: &mut [f32],
) -> f64 {
    let [wanted, found] = buffers;
    let spread = |from: &[f32], into: &mut [f32]| {
        into.iter_mut().zip(from).for_each(|(number, from)| *number = from / temperature);
        softmax(into)
    };
    let normalisers = (spread(teacher, wanted), spread(student, found));
    let mut divergence = f64::from(normalisers.1) - f64::from(normalisers.0);
    for (index, gradient) in gradient.iter_mut().enumerate() {
        divergence += f64::from(wanted[index] * (teacher[index] - student[index]) / temperature);
        *gradient += scale * temperature * (found[index] - wanted[index]);
    }
    divergence * f64::from(scale * temperature * temperature)
}

/// Turns logits into probabilities and gives the logarithm of their normaliser.
fn softmax(logits: &mut [f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - most).exp();
        sum += *logit;
    }
    logits.iter_mut().for_each(|probability| *probability /= sum);
    most + sum.ln()
}

/// 1 / (1 + e⁻ˣ).
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + eˣ), without overflow.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEACHER: [f32; 6] = [0.5, -2.0, 3.0, 0.0, 1.5, -0.7];
    const STUDENT: [f32; 6] = [-0.3, 1.0, 2.0, 0.4, -1.5, 0.9];
    const WEIGHTS: [f32; 6] = [0.2, 1.0, 0.5, 0.9, 0.0, 0.7];

    /// A divergence as a function of the student, with its gradient.
    type Divergence<'a> = &'a dyn Fn(&[f32], &mut [f32]) -> f64;

    fn check(divergence: Divergence, expected: f64) {
        let mut gradient = [0.0; 6];
        let value = divergence(&STUDENT, &mut gradient);
        assert!((value - expected).abs() < 1e-5, "{value} against {expected}");
        for index in 0..6 {
            let shifted = |delta: f32| {
                let mut student = STUDENT;
                student[index] += delta;
                divergence(&student, &mut [0.0; 6])
            };
            let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((numeric - f64::from(gradient[index])).abs() < 2e-3, "{index}: {numeric} {}", gradient[index]);
        }
        let mut none = [0.0; 6];
        assert!(divergence(&TEACHER, &mut none).abs() < 1e-5);
        assert!(none.iter().all(|number| number.abs() < 1e-5));
    }

    fn kl(wanted: &[f64], found: &[f64]) -> f64 {
        wanted.iter().zip(found).map(|(p, q)| p * (p / q).ln()).sum()
    }

    fn probabilities(logits: &[f32], temperature: f64) -> Vec<f64> {
        let powers: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) / temperature).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.iter().map(|power| power / sum).collect()
    }

    #[test]
    fn independent_logits() {
        let expected = (0..6).map(|i| {
            let pair = |logit: f32| probabilities(&[logit, 0.0], 2.0);
            f64::from(WEIGHTS[i]) * kl(&pair(TEACHER[i]), &pair(STUDENT[i]))
        });
        let expected = 4.0 * 0.5 * expected.sum::<f64>();
        check(&|student, gradient| bernoulli(&TEACHER, student, Some(&WEIGHTS), 2.0, 0.5, gradient), expected);
    }

    #[test]
    fn distributions_over_planes() {
        let weights = [0.3, 1.0];
        let column = |from: &[f32], place: usize| [from[place], from[2 + place], from[4 + place]];
        let expected = (0..2).map(|place| {
            let at = |from: &[f32]| probabilities(&column(from, place), 1.5);
            f64::from(weights[place]) * kl(&at(&TEACHER), &at(&STUDENT))
        });
        let expected = 2.25 * 0.7 * expected.sum::<f64>();
        check(&|student, gradient| over_planes(&TEACHER, student, &weights, 1.5, 0.7, gradient), expected);
    }

    #[test]
    fn one_distribution_over_places() {
        let expected = 9.0 * 0.25 * kl(&probabilities(&TEACHER, 3.0), &probabilities(&STUDENT, 3.0));
        let divergence = |student: &[f32], gradient: &mut [f32]| {
            over_places(&TEACHER, student, 3.0, 0.25, [&mut [0.0; 6], &mut [0.0; 6]], gradient)
        };
        check(&divergence, expected);
    }
}
