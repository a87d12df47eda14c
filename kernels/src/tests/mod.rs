//! Every kernel against plain loops in double precision, over random shapes.

mod convolution;

use super::channels::Channels;
use super::elementwise::{self, Activation, ChannelRange};
use super::norm::{self, BatchNorm};
use super::optim::{self, AdamW, Ema, Sgd};
use super::pool::{self, PoolShape};
use super::simd;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn random(rng: &mut impl Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn pick<T: Copy>(rng: &mut impl Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

#[track_caller]
fn close(what: &str, got: &[f32], expected: &[f64], scale: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*g) - e).abs() <= 2e-6 * scale, "{what}: element {i} is {g}, not {e}");
    }
}

const ACTIVATIONS: [Activation; 6] = [
    Activation::None,
    Activation::Silu,
    Activation::Sigmoid,
    Activation::Relu,
    Activation::LeakyRelu(0.1),
    Activation::Hardswish,
];

fn activation64(f: Activation, x: f64) -> f64 {
    match f {
        Activation::None => x,
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu(a) => {
            if x > 0.0 {
                x
            } else {
                x * f64::from(a)
            }
        }
        Activation::Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
    }
}

fn slope64(f: Activation, x: f64) -> f64 {
    (activation64(f, x + 1e-6) - activation64(f, x - 1e-6)) / 2e-6
}

#[test]
fn activations_and_their_slopes() {
    // No point sits on a kink.
    let x: Vec<f32> = (0..100_003).map(|i| (i as f32 - 50_000.3) / 2500.0).collect();
    for f in ACTIVATIONS {
        let mut y = vec![f32::NAN; x.len()];
        elementwise::activate(f, &x, &mut y);
        let mut dx = vec![1.0; x.len()];
        let dy = vec![2.0; x.len()];
        elementwise::activate_backward(f, &x, &dy, &mut dx, true);
        for ((x, y), dx) in x.iter().zip(&y).zip(&dx) {
            let e = activation64(f, f64::from(*x));
            assert!((f64::from(*y) - e).abs() <= 1e-6 * e.abs() + 1e-30, "{f:?}({x}) is {y}, not {e}");
            let slope = 1.0 + 2.0 * slope64(f, f64::from(*x));
            assert!(
                (f64::from(*dx) - slope).abs() <= 2e-6 * slope.abs().max(1.0),
                "{f:?}'({x}) gives {dx}, not {slope}"
            );
        }
    }
}

#[test]
fn activations_far_out_stay_finite() {
    let x = [-1e30, -1000.0, -88.0, 88.0, 1000.0, 1e30];
    let (mut y, mut dx) = ([0.0; 6], [0.0; 6]);
    elementwise::activate(Activation::Silu, &x, &mut y);
    elementwise::activate_backward(Activation::Silu, &x, &[1.0; 6], &mut dx, false);
    assert!(y[..3].iter().all(|v| v.abs() < 1e-5), "{y:?}");
    assert_eq!(&y[3..], &x[3..]);
    assert!(dx[..3].iter().all(|v| v.abs() < 1e-5) && dx[3..].iter().all(|v| (v - 1.0).abs() < 1e-5), "{dx:?}");
}

#[test]
fn batch_norm_with_every_activation() {
    for (seed, (batch, channels, area)) in
        [(2, 3, 35), (1, 1, 1), (4, 5, 1), (3, 2, 5000), (2, 7, 8)].into_iter().enumerate()
    {
        for activation in ACTIVATIONS {
            let rng = &mut rng(seed as u64);
            let len = batch * channels * area;
            // A mean far from zero is where a careless variance goes wrong.
            let x: Vec<f32> = random(rng, len).iter().map(|v| v + 20.0).collect();
            let dy = random(rng, len);
            let (gamma, beta) = (random(rng, channels), random(rng, channels));
            let eps = 1e-3;
            let n = BatchNorm { batch, channels, area, gamma: &gamma, beta: &beta, eps, activation };
            let mut y = vec![f32::NAN; len];
            let (mut mean, mut var) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            norm::forward_train(&n, &x, &mut y, &mut mean, &mut var);
            let (mut dx, mut dgamma, mut dbeta) = (dy.clone(), vec![f32::NAN; channels], vec![f32::NAN; channels]);
            norm::backward(&n, true, &x, [&mean, &var], &mut dx, [&mut dgamma, &mut dbeta]);
            let mut with_given = (dy.clone(), vec![f32::NAN; channels], vec![f32::NAN; channels]);
            let of_affine = [&mut with_given.1[..], &mut with_given.2];
            norm::backward(&n, false, &x, [&mean, &var], &mut with_given.0, of_affine);
            assert_eq!((&dgamma, &dbeta), (&with_given.1, &with_given.2));
            let mut evaluated = vec![f32::NAN; len];
            norm::forward_eval(&n, &x, &mean, &var, &mut evaluated);
            assert_eq!(y, evaluated);

            for c in 0..channels {
                let at: Vec<usize> = (0..len).filter(|i| i / area % channels == c).collect();
                let count = at.len() as f64;
                let m = at.iter().map(|&i| f64::from(x[i])).sum::<f64>() / count;
                let v = at.iter().map(|&i| (f64::from(x[i]) - m).powi(2)).sum::<f64>() / count;
                close("mean", &[mean[c]], &[m], 20.0);
                close("variance", &[var[c]], &[v], 1.0);
                let rstd = 1.0 / (v + f64::from(eps)).sqrt();
                let hat = |i: usize| (f64::from(x[i]) - m) * rstd;
                let z = |i: usize| f64::from(gamma[c]) * hat(i) + f64::from(beta[c]);
                let dz = |i: usize| slope64(activation, z(i)) * f64::from(dy[i]);
                let b: f64 = at.iter().map(|&i| dz(i)).sum();
                let g: f64 = at.iter().map(|&i| dz(i) * hat(i)).sum();
                close("shift gradient", &[dbeta[c]], &[b], 10.0 * count);
                close("scale gradient", &[dgamma[c]], &[g], 20.0 * count);
                for &i in &at {
                    close("output", &[y[i]], &[activation64(activation, z(i))], 20.0 * rstd);
                    let d = f64::from(gamma[c]) * rstd * (dz(i) - b / count - hat(i) * g / count);
                    close("input gradient", &[dx[i]], &[d], 40.0 * rstd * rstd);
                    let d = f64::from(gamma[c]) * rstd * dz(i);
                    close("input gradient, given statistics", &[with_given.0[i]], &[d], 40.0 * rstd * rstd);
                }
            }
        }
    }
}

#[test]
fn max_pools_and_their_gradients() {
    let rng = &mut rng(11);
    for case in 0..200 {
        let mut two = |from: &[usize]| [pick(rng, from), pick(rng, from)];
        let (in_hw, kernel, stride) = (two(&[1, 2, 3, 5, 9, 10, 20, 33]), two(&[1, 2, 3, 5, 5]), two(&[1, 1, 2, 3]));
        let padding = [0, 1].map(|a| rng.random_range(0..=kernel[a] / 2));
        let s = PoolShape { planes: 3, in_hw, kernel, stride, padding };
        let [oh, ow] = s.out_hw();
        let area = in_hw[0] * in_hw[1];
        // Few different values, so that there are ties.
        let x: Vec<f32> = (0..3 * area).map(|_| rng.random_range(-4..4) as f32).collect();
        let dy = random(rng, 3 * oh * ow);
        let (mut y64, mut dx64) = (vec![], vec![0f64; x.len()]);
        for p in 0..3 {
            for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                let (mut best, mut at) = (f32::NEG_INFINITY, None);
                for (ky, kx) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
                    let iy = (oy * stride[0] + ky).wrapping_sub(padding[0]);
                    let ix = (ox * stride[1] + kx).wrapping_sub(padding[1]);
                    if iy < in_hw[0] && ix < in_hw[1] && x[p * area + iy * in_hw[1] + ix] > best {
                        (best, at) = (x[p * area + iy * in_hw[1] + ix], Some(p * area + iy * in_hw[1] + ix));
                    }
                }
                dx64[at.expect("a window holds an input")] += f64::from(dy[y64.len()]);
                y64.push(f64::from(best));
            }
        }
        let mut y = vec![f32::NAN; dy.len()];
        pool::max_forward(&s, &x, &mut y);
        close(&format!("{case} {s:?}"), &y, &y64, 1.0);
        let mut dx = vec![f32::NAN; x.len()];
        pool::max_backward(&s, &x, &dy, &mut dx, false);
        close(&format!("gradient {case} {s:?}"), &dx, &dx64, 25.0);
        pool::max_backward(&s, &x, &dy, &mut dx, true);
        close(&format!("gradient twice {case} {s:?}"), &dx, &dx64.iter().map(|d| 2.0 * d).collect::<Vec<_>>(), 50.0);
    }
}

#[test]
fn a_nan_is_a_windows_maximum() {
    let s = PoolShape { planes: 1, in_hw: [1, 4], kernel: [1, 3], stride: [1, 1], padding: [0, 1] };
    let (x, mut y, mut dx) = ([1.0, 2.0, 3.0, f32::NAN], [0.0; 4], [0.0; 4]);
    pool::max_forward(&s, &x, &mut y);
    assert!(y[2].is_nan() && y[3].is_nan() && y[..2] == [2.0, 3.0]);
    pool::max_backward(&s, &x, &[1.0; 4], &mut dx, false);
    assert_eq!(dx, [0.0, 1.0, 1.0, 2.0]);
}

#[test]
fn upsampling_and_its_gradient() {
    for scale in [[2, 2], [1, 3], [3, 1], [4, 2]] {
        let (planes, hw) = (3, [3, 5]);
        let rng = &mut rng(5);
        let x = random(rng, planes * 15);
        let dy = random(rng, x.len() * scale[0] * scale[1]);
        let mut y = vec![f32::NAN; dy.len()];
        elementwise::upsample(planes, hw, scale, &x, &mut y);
        let mut dx = vec![f32::NAN; x.len()];
        elementwise::upsample_backward(planes, hw, scale, &dy, &mut dx, false);
        let mut expected = vec![0f64; x.len()];
        let width = hw[1] * scale[1];
        for (i, (y, dy)) in y.iter().zip(&dy).enumerate() {
            let from = i / width / scale[0] * hw[1] + i % width / scale[1];
            assert_eq!(*y, x[from]);
            expected[from] += f64::from(*dy);
        }
        close("upsampling gradient", &dx, &expected, 8.0);
        elementwise::upsample_backward(planes, hw, scale, &dy, &mut dx, true);
        close("upsampling gradient twice", &dx, &expected.iter().map(|v| 2.0 * v).collect::<Vec<_>>(), 16.0);
    }
}

#[test]
fn concatenation_by_copies_and_back() {
    let (area, batch) = (6, 3);
    let rng = &mut rng(6);
    let (a, b) = (random(rng, batch * 2 * area), random(rng, batch * 3 * area));
    let range = |channels, start| ChannelRange { channels, start };
    let mut y = vec![f32::NAN; batch * 5 * area];
    elementwise::copy_channels(area, 2, (&a, range(2, 0)), (&mut y, range(5, 0)), false);
    elementwise::copy_channels(area, 3, (&b, range(3, 0)), (&mut y, range(5, 2)), false);
    for n in 0..batch {
        assert_eq!(y[n * 30..][..12], a[n * 12..][..12]);
        assert_eq!(y[n * 30 + 12..][..18], b[n * 18..][..18]);
    }
    let mut back = b.clone();
    elementwise::copy_channels(area, 3, (&y, range(5, 2)), (&mut back, range(3, 0)), true);
    assert!(back.iter().zip(&b).all(|(x, y)| *x == 2.0 * y));
    let (mut sum, mut twice) = (vec![f32::NAN; a.len()], a.clone());
    let whole = Channels::whole(&a, [batch, 2, area]);
    whole.add(&whole, &mut sum);
    elementwise::add_assign(&mut twice, &a);
    assert!(sum == twice && sum.iter().zip(&a).all(|(x, y)| *x == 2.0 * y));
}

#[test]
fn optimisers_step_as_their_definitions_say() {
    let rng = &mut rng(8);
    let len = 20_011;
    let start = random(rng, len);
    let gradients: Vec<Vec<f32>> = (0..3).map(|_| random(rng, len)).collect();
    for nesterov in [false, true] {
        let o = Sgd { lr: 0.1, momentum: 0.9, nesterov, weight_decay: 0.01, gradient_scale: 0.5 };
        let (mut p, mut v, mut average) = (start.clone(), vec![0.0; len], start.clone());
        let mut p64: Vec<f64> = start.iter().map(|v| f64::from(*v)).collect();
        let (mut v64, mut average64) = (vec![0f64; len], p64.clone());
        for g in &gradients {
            optim::sgd(&o, &mut p, g, &mut v, Some(Ema { average: &mut average, decay: 0.8 }));
            for i in 0..len {
                let g = 0.5 * f64::from(g[i]) + 0.01 * p64[i];
                v64[i] = 0.9 * v64[i] + g;
                p64[i] -= 0.1 * if nesterov { g + 0.9 * v64[i] } else { v64[i] };
                average64[i] = 0.8 * average64[i] + 0.2 * p64[i];
            }
        }
        close("parameters", &p, &p64, 1.0);
        close("average", &average, &average64, 1.0);
    }
    let (mut p, mut m, mut v) = (start.clone(), vec![0.0; len], vec![0.0; len]);
    let mut p64: Vec<f64> = start.iter().map(|v| f64::from(*v)).collect();
    let (mut m64, mut v64) = (vec![0f64; len], vec![0f64; len]);
    for (step, g) in (1..).zip(&gradients) {
        let o = AdamW { lr: 0.01, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.05, gradient_scale: 2.0, step };
        optim::adamw(&o, &mut p, g, [&mut m, &mut v], None);
        for i in 0..len {
            let g = 2.0 * f64::from(g[i]);
            m64[i] = 0.9 * m64[i] + 0.1 * g;
            v64[i] = 0.999 * v64[i] + 0.001 * g * g;
            let (m, v) = (m64[i] / (1.0 - 0.9f64.powi(step as i32)), v64[i] / (1.0 - 0.999f64.powi(step as i32)));
            p64[i] = p64[i] * (1.0 - 0.01 * 0.05) - 0.01 * m / (v.sqrt() + 1e-8);
        }
    }
    close("parameters", &p, &p64, 1.0);
    let squares: f64 = start.iter().map(|v| f64::from(*v).powi(2)).sum();
    assert!((optim::sum_of_squares(&start) / squares - 1.0).abs() < 1e-6);
    assert!((norm::sum(&start) - start.iter().map(|v| f64::from(*v)).sum::<f64>()).abs() < 1e-3);
}

#[test]
fn without_vector_instructions_all_is_the_same() {
    // Lane counts must not change within a call, so these run in a process of their own: this test's, once more.
    const SELF: &str = "ESPALIER_TEST_SCALAR";
    if std::env::var_os(SELF).is_some() {
        simd::SCALAR.store(true, std::sync::atomic::Ordering::Relaxed);
        convolution::convolutions_of_the_stock_models();
        convolution::convolutions_of_odd_shapes();
        convolution::convolutions_by_squares_of_outputs();
        activations_and_their_slopes();
        batch_norm_with_every_activation();
        max_pools_and_their_gradients();
        return;
    }
    let program = std::env::current_exe().expect("the test's own path");
    let name = "without_vector_instructions_all_is_the_same";
    let run =
        std::process::Command::new(program).args([name, "--nocapture"]).env(SELF, "1").output().expect("a process");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&run.stderr));
}
