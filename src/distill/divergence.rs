//! Kullback–Leibler divergences between what a teacher and a student say, and their gradients for the student.
//!
//! All are scaled by the temperature squared, so that their gradients keep their size as the temperature changes
//! (Hinton, Vinyals and Dean 2015, <https://arxiv.org/abs/1503.02531>).

use crate::exec::kernels::logistic::{exp_of_negative, softplus};

/// Numbers worked on side by side.
const LANES: usize = 16;

/// T²·scale·Σᵢ wᵢ·KL(σ(tᵢ/T) ‖ σ(sᵢ/T)) of independent logits, such as objectness and class scores. All slices have one
/// length; without `weights` every wᵢ is 1. The gradient is added to what is there.
pub(super) fn bernoulli(
    teacher: &[f32],
    student: &[f32],
    weights: Option<&[f32]>,
    temperature: f32,
    scale: f32,
    gradient: &mut [f32],
) -> f64 {
    let soften = 1.0 / temperature;
    let divergence = move |t: f32, s: f32| {
        let (t, s) = (t * soften, s * soften);
        let ((teacher, wanted), (student, found)) = (softplus(t), softplus(s));
        (student - teacher + wanted * (t - s), temperature * (found - wanted))
    };
    let total = match weights {
        Some(weights) => sum(teacher, student, weights, gradient, |t, s, weight, gradient| {
            let (value, slope) = divergence(t, s);
            *gradient += scale * weight * slope;
            scale * weight * value
        }),
        None => sum(teacher, student, teacher, gradient, |t, s, _, gradient| {
            let (value, slope) = divergence(t, s);
            *gradient += scale * slope;
            scale * value
        }),
    };
    total * f64::from(temperature * temperature)
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
    let places = weights.len();
    let bins = teacher.len() / places.max(1);
    let (mut wanted, mut found) = (vec![[0.0; LANES]; bins], vec![[0.0; LANES]; bins]);
    let total = pulp::Arch::new().dispatch(|| {
        let mut total = 0.0;
        for start in (0..places).step_by(LANES) {
            let count = LANES.min(places - start);
            let weights = row(weights, start, count);
            let mut between = [0.0f32; LANES];
            let teacher_sums = softmax_of_rows(teacher, places, start, count, temperature, &mut wanted);
            let student_sums = softmax_of_rows(student, places, start, count, temperature, &mut found);
            for (bin, (wanted, found)) in wanted.iter().zip(&found).enumerate() {
                let at = bin * places + start;
                let (t, s) = (row(teacher, at, count), row(student, at, count));
                let mut slopes = [0.0; LANES];
                for lane in 0..LANES {
                    between[lane] += wanted[lane] * (t[lane] - s[lane]);
                    slopes[lane] = scale * temperature * weights[lane] * (found[lane] - wanted[lane]);
                }
                gradient[at..at + count].iter_mut().zip(slopes).for_each(|(gradient, slope)| *gradient += slope);
            }
            for lane in 0..count {
                let divergence = student_sums[lane] - teacher_sums[lane] + between[lane] / temperature;
                total += f64::from(scale * weights[lane] * divergence);
            }
        }
        total
    });
    total * f64::from(temperature * temperature)
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
    let [teacher_most, student_most] = [most(teacher), most(student)];
    let soften = 1.0 / temperature;
    let powers = |from: &[f32], most: f32, to: &mut [f32]| {
        sum(from, from, from, to, |number, _, _, power| {
            *power = exp_of_negative((number - most) * soften);
            *power
        })
    };
    let teacher_sum = powers(teacher, teacher_most, wanted);
    let student_sum = powers(student, student_most, gradient);
    let (of_teacher, of_student) = (1.0 / teacher_sum as f32, 1.0 / student_sum as f32);
    let between = sum(teacher, student, wanted, gradient, |t, s, wanted, gradient| {
        let wanted = wanted * of_teacher;
        *gradient = scale * temperature * (*gradient * of_student - wanted);
        wanted * (t - s)
    });
    let tops = f64::from(student_most) - f64::from(teacher_most);
    let divergence = (tops + between) * f64::from(soften) + (student_sum / teacher_sum).ln();
    divergence * f64::from(scale * temperature * temperature)
}

/// The sum of `each` over the numbers of three slices of one length, with the place of a fourth to be changed.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], c: &[f32], d: &mut [f32], each: impl Fn(f32, f32, f32, &mut f32) -> f32) -> f64 {
    const BLOCK: usize = 64 * LANES;
    pulp::Arch::new().dispatch(|| {
        let mut sum = 0.0;
        let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK)).zip(c.chunks(BLOCK)).zip(d.chunks_mut(BLOCK));
        for (((a, b), c), d) in blocks {
            let mut sums = [0.0f32; LANES];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            let ((c, c_rest), (d, d_rest)) = (c.as_chunks::<LANES>(), d.as_chunks_mut::<LANES>());
            for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                for lane in 0..LANES {
                    sums[lane] += each(a[lane], b[lane], c[lane], &mut d[lane]);
                }
            }
            for ((((a, b), c), d), sum) in a_rest.iter().zip(b_rest).zip(c_rest).zip(d_rest).zip(&mut sums) {
                *sum += each(*a, *b, *c, d);
            }
            sum += f64::from(sums.iter().sum::<f32>());
        }
        sum
    })
}

/// The largest number.
fn most(numbers: &[f32]) -> f32 {
    pulp::Arch::new().dispatch(|| {
        let (lanes, rest) = numbers.as_chunks::<LANES>();
        let mut most = [f32::MIN; LANES];
        for numbers in lanes {
            for lane in 0..LANES {
                most[lane] = most[lane].max(numbers[lane]);
            }
        }
        most.iter().chain(rest).copied().fold(f32::MIN, f32::max)
    })
}

/// `count` numbers from `at` on; the other lanes are zero.
#[inline(always)]
fn row(from: &[f32], at: usize, count: usize) -> [f32; LANES] {
    let from = &from[at..at + count];
    from.first_chunk().copied().unwrap_or_else(|| std::array::from_fn(|lane| from.get(lane).copied().unwrap_or(0.0)))
}

/// The distributions over planes at `count` places from `start` on, and the logarithms of their normalisers.
#[inline(always)]
fn softmax_of_rows(
    from: &[f32],
    places: usize,
    start: usize,
    count: usize,
    temperature: f32,
    to: &mut [[f32; LANES]],
) -> [f32; LANES] {
    let mut most = [f32::MIN; LANES];
    for (bin, to) in to.iter_mut().enumerate() {
        let logits = row(from, bin * places + start, count);
        for lane in 0..LANES {
            to[lane] = logits[lane] / temperature;
            most[lane] = most[lane].max(to[lane]);
        }
    }
    let mut sums = [0.0; LANES];
    for to in &mut *to {
        for lane in 0..LANES {
            to[lane] = exp_of_negative(to[lane] - most[lane]);
            sums[lane] += to[lane];
        }
    }
    for to in to {
        for lane in 0..LANES {
            to[lane] /= sums[lane];
        }
    }
    std::array::from_fn(|lane| most[lane] + sums[lane].ln())
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
        let expected = |weights: &[f32]| {
            let each = (0..COUNT).map(|i| {
                let pair = |logit: f32| probabilities(&[logit, 0.0], 2.0);
                f64::from(weights[i]) * kl(&pair(teacher[i]), &pair(student[i]))
            });
            4.0 * 0.5 * each.sum::<f64>()
        };
        let some = weights(COUNT);
        check(&|t, s, gradient| bernoulli(t, s, Some(&some), 2.0, 0.5, gradient), expected(&some));
        check(&|t, s, gradient| bernoulli(t, s, None, 2.0, 0.5, gradient), expected(&[1.0; COUNT]));
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
