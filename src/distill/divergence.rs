//! Kullback–Leibler divergences between what a teacher and a student say, and their gradients for the student.
//!
//! All are scaled by the temperature squared, so that their gradients keep their size as the temperature changes
//! (Hinton, Vinyals and Dean 2015, <https://arxiv.org/abs/1503.02531>).

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use espalier_kernels::{
    lanes::{Each, WIDEST, sum},
    logistic::{exp_of_negated, softplus},
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
/// The student's logits become the gradient. `wanted` is a scratch slice of the same length.
pub(super) fn over_places(
    teacher: &[f32],
    student: &mut [f32],
    temperature: f32,
    scale: f32,
    wanted: &mut [f32],
) -> f64 {
    let soften = 1.0 / temperature;
    wanted.copy_from_slice(teacher);
    let wanted_powers = powers(wanted, soften);
    let between = sum([teacher, wanted], student, Between) / wanted_powers.sum;
    let found_powers = powers(student, soften);
    let share = |powers: &Powers| (f64::from(scale * temperature) / powers.sum) as f32;
    sum([&*wanted], student, Derivative { wanted: share(&wanted_powers), found: share(&found_powers) });
    let tops = f64::from(found_powers.most) - f64::from(wanted_powers.most);
    let divergence = (tops + between) * f64::from(soften) + (found_powers.sum / wanted_powers.sum).ln();
    divergence * f64::from(scale * temperature * temperature)
}

/// Turns logits into a softmax that is not normalised, relative to the largest.
fn powers(logits: &mut [f32], soften: f32) -> Powers {
    let most = Arch::new().dispatch(Most(logits));
    Powers { most, sum: sum([], logits, Power { most, soften }) }
}

/// What a softmax is relative to.
struct Powers {
    /// The largest logit.
    most: f32,
    /// Of the powers.
    sum: f64,
}

/// From a teacher's and a student's logit and their weight, the divergence; adds its derivative.
#[derive(Clone, Copy)]
struct Bernoulli {
    soften: f32,
    value: f32,
    slope: f32,
}

impl Each<3> for Bernoulli {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, [teacher, student, weight]: [S::f32s; 3], gradient: S::f32s) -> [S::f32s; 2] {
        let [soften, value, slope] = [self.soften, self.value, self.slope].map(|number| s.splat_f32s(number));
        let [teacher, student] = [teacher, student].map(|logit| s.mul_f32s(logit, soften));
        let ([whole, wanted], [part, found]) = (softplus(s, teacher), softplus(s, student));
        let gradient = s.mul_add_e_f32s(s.mul_f32s(slope, weight), s.sub_f32s(found, wanted), gradient);
        let divergence = s.mul_add_e_f32s(wanted, s.sub_f32s(teacher, student), s.sub_f32s(part, whole));
        [gradient, s.mul_f32s(s.mul_f32s(value, weight), divergence)]
    }
}

/// From a logit to its power.
#[derive(Clone, Copy)]
struct Power {
    most: f32,
    soften: f32,
}

impl Each<0> for Power {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, []: [S::f32s; 0], logit: S::f32s) -> [S::f32s; 2] {
        let below = s.sub_f32s(s.splat_f32s(self.most), logit);
        [exp_of_negated(s, s.mul_f32s(below, s.splat_f32s(self.soften))); 2]
    }
}

/// The difference of a teacher's and a student's logit, times the teacher's power.
#[derive(Clone, Copy)]
struct Between;

impl Each<2> for Between {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, [teacher, power]: [S::f32s; 2], student: S::f32s) -> [S::f32s; 2] {
        [student, s.mul_f32s(power, s.sub_f32s(teacher, student))]
    }
}

/// From the student's power and the teacher's to the derivative; sums nothing.
#[derive(Clone, Copy)]
struct Derivative {
    wanted: f32,
    found: f32,
}

impl Each<1> for Derivative {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, [wanted]: [S::f32s; 1], found: S::f32s) -> [S::f32s; 2] {
        let wanted = s.mul_f32s(wanted, s.splat_f32s(self.wanted));
        [s.sub_f32s(s.mul_f32s(found, s.splat_f32s(self.found)), wanted), s.splat_f32s(0.0)]
    }
}

/// The largest number.
struct Most<'a>(&'a [f32]);

impl WithSimd for Most<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        let (vectors, rest) = S::as_simd_f32s(self.0);
        let most = vectors.iter().fold(s.splat_f32s(f32::MIN), |most, vector| s.max_f32s(most, *vector));
        rest.iter().copied().fold(s.reduce_max_f32s(most), f32::max)
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
    fn with_simd<S: Simd>(self, s: S) -> f64 {
        let OverPlanes { teacher, student, weights, soften, scale, gradient } = self;
        let places = weights.len();
        let bins = teacher.len() / places.max(1);
        let [mut wanted, mut found] = [0, 1].map(|_| vec![s.splat_f32s(0.0); bins]);
        let mut total = 0.0;
        for start in (0..places).step_by(S::F32_LANES) {
            let end = places.min(start + S::F32_LANES);
            let weight = load(s, &weights[start..end]);
            let slope = s.mul_f32s(weight, s.splat_f32s(scale / soften));
            let teachers = powers_of_planes(s, teacher, places, start..end, soften, &mut wanted);
            let students = powers_of_planes(s, student, places, start..end, soften, &mut found);
            let [wanted_share, found_share] = [&teachers, &students].map(|all| s.div_f32s(s.splat_f32s(1.0), all.sum));
            let mut between = s.splat_f32s(0.0);
            for (bin, (wanted, found)) in wanted.iter().zip(&found).enumerate() {
                let at = bin * places + start..bin * places + end;
                let [t, u] = [teacher, student].map(|from| load(s, &from[at.clone()]));
                let (wanted, found) = (s.mul_f32s(*wanted, wanted_share), s.mul_f32s(*found, found_share));
                between = s.mul_add_e_f32s(wanted, s.sub_f32s(t, u), between);
                let gradient = &mut gradient[at];
                let sum = s.mul_add_e_f32s(slope, s.sub_f32s(found, wanted), load(s, gradient));
                store(s, gradient, sum);
            }
            let tops = s.sub_f32s(students.most, teachers.most);
            let logits = s.mul_f32s(s.add_f32s(tops, between), s.splat_f32s(soften));
            let (mut of_logits, mut of_sums) = ([0.0; WIDEST], [1.0; WIDEST]);
            s.partial_store_f32s(&mut of_logits[..end - start], s.mul_f32s(weight, logits));
            s.partial_store_f32s(&mut of_sums[..end - start], s.div_f32s(students.sum, teachers.sum));
            for ((weight, logits), sums) in weights[start..end].iter().zip(of_logits).zip(of_sums) {
                total += f64::from(scale * (logits + weight * sums.ln()));
            }
        }
        total
    }
}

/// No more numbers than a vector has; the other lanes are zero.
#[inline(always)]
fn load<S: Simd>(s: S, from: &[f32]) -> S::f32s {
    match S::as_simd_f32s(from) {
        ([vector], _) => *vector,
        (_, rest) => s.partial_load_f32s(rest),
    }
}

/// As [`load`]; lanes that have no place are dropped.
#[inline(always)]
fn store<S: Simd>(s: S, to: &mut [f32], numbers: S::f32s) {
    match S::as_mut_simd_f32s(to) {
        ([vector], _) => *vector = numbers,
        (_, rest) => s.partial_store_f32s(rest, numbers),
    }
}

/// What makes softmaxes of powers, place by place.
struct Normaliser<V> {
    /// The largest logit.
    most: V,
    /// Of the powers.
    sum: V,
}

/// The powers of the planes at some places, no more than a vector has, relative to each place's largest.
#[inline(always)]
fn powers_of_planes<S: Simd>(
    s: S,
    from: &[f32],
    places: usize,
    some: Range<usize>,
    soften: f32,
    to: &mut [S::f32s],
) -> Normaliser<S::f32s> {
    let mut most = s.splat_f32s(f32::MIN);
    for (bin, to) in to.iter_mut().enumerate() {
        *to = load(s, &from[bin * places + some.start..bin * places + some.end]);
        most = s.max_f32s(most, *to);
    }
    let mut sum = s.splat_f32s(0.0);
    for to in to {
        *to = exp_of_negated(s, s.mul_f32s(s.sub_f32s(most, *to), s.splat_f32s(soften)));
        sum = s.add_f32s(sum, *to);
    }
    Normaliser { most, sum }
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
        check(
            &|teacher, student, gradient| {
                gradient.copy_from_slice(student);
                over_places(teacher, gradient, 3.0, 0.25, &mut [0.0; COUNT])
            },
            expected,
        );
    }
}
