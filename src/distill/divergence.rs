//! Kullback–Leibler divergences between what a teacher and a student say, and their gradients for the student.
//!
//! All are scaled by the temperature squared, so that their gradients keep their size as the temperature changes
//! (Hinton, Vinyals and Dean 2015, <https://arxiv.org/abs/1503.02531>).

use pulp::{Arch, Simd, WithSimd};

use crate::exec::kernels::{
    lanes::{Each, LANES, sum},
    logistic::{exp_of_negative, softplus},
};

/// T²·scale·Σᵢ wᵢ·KL(σ(tᵢ/T) ‖ σ(sᵢ/T)) of independent logits, such as objectness and class scores. All slices have one
/// length. The gradient is added to what is there.
pub(super) fn bernoulli(
    teacher: &[f32],
    student: &[f32],
    weights: &[f32],
    temperature: f32,
    scale: f32,
    gradient: &mut [f32],
) -> f64 {
    let each = Bernoulli { soften: 1.0 / temperature, value: scale, slope: scale * temperature };
    sum([teacher, student, weights], gradient, each) * f64::from(temperature * temperature)
}

/// T²·scale·Σₚ wₚ·KL(softmax(tₚ/T) ‖ softmax(sₚ/T)) of distributions over `bins` planes: bin b of place p lies at
/// b·places + p, as the distances of a YOLOv8 head do. `weights` has a number a place. The gradient is added to what is
/// there.
pub(super) fn over_planes(
    teacher: &[f32],
    student: &[f32],
    weights: &[f32],
    temperature: f32,
    scale: f32,
    gradient: &mut [f32],
) -> f64 {
    let planes = OverPlanes { teacher, student, weights, soften: 1.0 / temperature, scale, gradient };
    Arch::new().dispatch(planes) * f64::from(temperature * temperature)
}

/// T²·scale·KL(softmax(t/T) ‖ softmax(s/T)) of one distribution over all the numbers of a slice: where a channel looks
/// (Shu et al. 2021, Channel-wise Knowledge Distillation for Dense Prediction, <https://arxiv.org/abs/2011.13256>).
/// `wanted` is a scratch slice of the same length. The gradient overwrites what is there.
pub(super) fn over_places(
    teacher: &[f32],
    student: &[f32],
    temperature: f32,
    scale: f32,
    wanted: &mut [f32],
    gradient: &mut [f32],
) -> f64 {
    let soften = 1.0 / temperature;
    let [teacher_most, student_most] = [teacher, student].map(|numbers| Arch::new().dispatch(Most(numbers)));
    let teacher_sum = sum([teacher; 3], wanted, Power { most: teacher_most, soften });
    let student_sum = sum([student; 3], gradient, Power { most: student_most, soften });
    let [wanted_share, found_share] = [teacher_sum, student_sum].map(|sum| 1.0 / sum as f32);
    let each = Difference { wanted_share, found_share, slope: scale * temperature };
    let between = sum([teacher, student, wanted], gradient, each);
    let tops = f64::from(student_most) - f64::from(teacher_most);
    let divergence = (tops + between) * f64::from(soften) + (student_sum / teacher_sum).ln();
    divergence * f64::from(scale * temperature * temperature)
}

/// From a teacher's and a student's logit and their weight, the divergence; adds its derivative.
struct Bernoulli {
    soften: f32,
    value: f32,
    slope: f32,
}

impl Each for Bernoulli {
    #[inline(always)]
    fn at(&self, [t, s, weight]: [f32; 3], gradient: &mut f32) -> f32 {
        let (t, s) = (t * self.soften, s * self.soften);
        let ((teacher, wanted), (student, found)) = (softplus(t), softplus(s));
        *gradient += self.slope * weight * (found - wanted);
        self.value * weight * (student - teacher + wanted * (t - s))
    }
}

/// A softmax before it is normalised.
struct Power {
    most: f32,
    soften: f32,
}

impl Each for Power {
    #[inline(always)]
    fn at(&self, [logit, ..]: [f32; 3], power: &mut f32) -> f32 {
        *power = exp_of_negative((logit - self.most) * self.soften);
        *power
    }
}

/// From a teacher's and a student's logit and the teacher's power, the difference of the logits, weighted as the teacher
/// does; turns the student's power into the derivative.
struct Difference {
    wanted_share: f32,
    found_share: f32,
    slope: f32,
}

impl Each for Difference {
    #[inline(always)]
    fn at(&self, [t, s, wanted]: [f32; 3], place: &mut f32) -> f32 {
        let wanted = wanted * self.wanted_share;
        *place = self.slope * (*place * self.found_share - wanted);
        wanted * (t - s)
    }
}

/// The largest number.
struct Most<'a>(&'a [f32]);

impl WithSimd for Most<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let (rows, rest) = self.0.as_chunks::<LANES>();
        let mut most = [f32::MIN; LANES];
        for row in rows {
            for lane in 0..LANES {
                most[lane] = if row[lane] > most[lane] { row[lane] } else { most[lane] };
            }
        }
        most.iter().chain(rest).copied().fold(f32::MIN, f32::max)
    }
}

struct OverPlanes<'a> {
    teacher: &'a [f32],
    student: &'a [f32],
    weights: &'a [f32],
    soften: f32,
    scale: f32,
    gradient: &'a mut [f32],
}

impl WithSimd for OverPlanes<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let OverPlanes { teacher, student, weights, soften, scale, gradient } = self;
        let places = weights.len();
        let bins = teacher.len() / places.max(1);
        let (mut wanted, mut found) = (vec![[0.0; LANES]; bins], vec![[0.0; LANES]; bins]);
        let (slope, mut total) = (scale / soften, 0.0);
        for start in (0..places).step_by(LANES) {
            let count = LANES.min(places - start);
            let weights = row(weights, start, count);
            let mut between = [0.0f32; LANES];
            let teachers = powers_of_rows(teacher, places, start, count, soften, &mut wanted);
            let students = powers_of_rows(student, places, start, count, soften, &mut found);
            for (bin, (wanted, found)) in wanted.iter().zip(&found).enumerate() {
                let at = bin * places + start;
                let (t, s) = (row(teacher, at, count), row(student, at, count));
                let mut slopes = [0.0; LANES];
                for lane in 0..LANES {
                    let wanted = wanted[lane] * teachers.share[lane];
                    between[lane] += wanted * (t[lane] - s[lane]);
                    slopes[lane] = slope * weights[lane] * (found[lane] * students.share[lane] - wanted);
                }
                gradient[at..at + count].iter_mut().zip(slopes).for_each(|(gradient, slope)| *gradient += slope);
            }
            for lane in 0..count {
                let divergence = students.normaliser(lane) - teachers.normaliser(lane) + between[lane] * soften;
                total += f64::from(scale * weights[lane] * divergence);
            }
        }
        total
    }
}

/// `count` numbers from `at` on; the other lanes are zero.
#[inline(always)]
fn row(from: &[f32], at: usize, count: usize) -> [f32; LANES] {
    let from = &from[at..at + count];
    from.first_chunk().copied().unwrap_or_else(|| std::array::from_fn(|lane| from.get(lane).copied().unwrap_or(0.0)))
}

/// What turns powers into softmaxes, lane by lane.
struct Normalisers {
    most: [f32; LANES],
    /// One over the sum of the powers.
    share: [f32; LANES],
}

impl Normalisers {
    /// The logarithm of Σ eˣ.
    #[inline(always)]
    fn normaliser(&self, lane: usize) -> f32 {
        self.most[lane] - self.share[lane].ln()
    }
}

/// The powers of the planes at `count` places from `start` on, relative to each place's largest.
#[inline(always)]
fn powers_of_rows(
    from: &[f32],
    places: usize,
    start: usize,
    count: usize,
    soften: f32,
    to: &mut [[f32; LANES]],
) -> Normalisers {
    let mut most = [f32::MIN; LANES];
    for (bin, to) in to.iter_mut().enumerate() {
        let logits = row(from, bin * places + start, count);
        for lane in 0..LANES {
            to[lane] = logits[lane] * soften;
            most[lane] = if to[lane] > most[lane] { to[lane] } else { most[lane] };
        }
    }
    let mut sums = [0.0; LANES];
    for to in to {
        for lane in 0..LANES {
            to[lane] = exp_of_negative(to[lane] - most[lane]);
            sums[lane] += to[lane];
        }
    }
    Normalisers { most, share: sums.map(|sum: f32| 1.0 / sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than a few lanes, and some left over.
    const COUNT: usize = 3 * 19;

    fn wave(phase: f32) -> Vec<f32> {
        (0..COUNT).map(|i| 2.0 * (i as f32 * 0.7 + phase).sin()).collect()
    }

    fn weights(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i % 5) as f32 / 4.0).collect()
    }

    /// A divergence as a function of teacher and student, with its gradient.
    type Divergence<'a> = &'a dyn Fn(&[f32], &[f32], &mut [f32]) -> f64;

    fn check(divergence: Divergence, expected: f64) {
        let (teacher, student) = (wave(0.2), wave(1.1));
        let mut gradient = vec![0.0; COUNT];
        let value = divergence(&teacher, &student, &mut gradient);
        assert!((value - expected).abs() < 1e-5 * expected, "{value} against {expected}");
        for index in 0..COUNT {
            let shifted = |delta: f32| {
                let mut student = student.clone();
                student[index] += delta;
                divergence(&teacher, &student, &mut vec![0.0; COUNT])
            };
            let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((numeric - f64::from(gradient[index])).abs() < 2e-3, "{index}: {numeric} {}", gradient[index]);
        }
        let mut none = vec![0.0; COUNT];
        assert!(divergence(&teacher, &teacher, &mut none).abs() < 1e-5);
        assert!(none.iter().all(|number| number.abs() < 1e-5));
        let mut student = student;
        student[COUNT - 1] = f32::NAN;
        assert!(divergence(&teacher, &student, &mut none).is_nan());
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
        let (teacher, student) = (wave(0.2), wave(1.1));
        let some = weights(COUNT);
        let expected = (0..COUNT).map(|i| {
            let pair = |logit: f32| probabilities(&[logit, 0.0], 2.0);
            f64::from(some[i]) * kl(&pair(teacher[i]), &pair(student[i]))
        });
        let expected = 4.0 * 0.5 * expected.sum::<f64>();
        check(&|t, s, gradient| bernoulli(t, s, &some, 2.0, 0.5, gradient), expected);
    }

    #[test]
    fn distributions_over_planes() {
        let (teacher, student, weights) = (wave(0.2), wave(1.1), [vec![0.0], weights(18)].concat());
        let column = |from: &[f32], place: usize| [from[place], from[19 + place], from[38 + place]];
        let expected = (0..19).map(|place| {
            let at = |from: &[f32]| probabilities(&column(from, place), 1.5);
            f64::from(weights[place]) * kl(&at(&teacher), &at(&student))
        });
        let expected = 2.25 * 0.7 * expected.sum::<f64>();
        check(&|t, s, gradient| over_planes(t, s, &weights, 1.5, 0.7, gradient), expected);
    }

    #[test]
    fn one_distribution_over_places() {
        let expected = 9.0 * 0.25 * kl(&probabilities(&wave(0.2), 3.0), &probabilities(&wave(1.1), 3.0));
        check(&|t, s, gradient| over_places(t, s, 3.0, 0.25, &mut [0.0; COUNT], gradient), expected);
    }
}
