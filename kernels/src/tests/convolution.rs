//! Convolutions and their gradients.

use super::super::{
    channels::{Channels, Part},
    conv::{self, ConvShape, Epilogue, PackedWeight, sizes},
    dtype::ComputeDtype,
    winograd_kernels::Size,
};
use super::{close, pick, random, rng};
use half::bf16;
use rand::RngExt;

/// Calls `f(output, input, weight)` for every product of a convolution.
fn products(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let [oh, ow] = s.out_hw();
    let (ci, co) = (s.in_channels / s.groups, s.out_channels / s.groups);
    for n in 0..s.batch {
        for o in 0..s.out_channels {
            for c in 0..ci {
                for (ky, kx) in (0..s.kernel[0]).flat_map(|y| (0..s.kernel[1]).map(move |x| (y, x))) {
                    for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                        let iy = (y * s.stride[0] + ky * s.dilation[0]).wrapping_sub(s.padding[0]);
                        let ix = (x * s.stride[1] + kx * s.dilation[1]).wrapping_sub(s.padding[1]);
                        if iy < s.in_hw[0] && ix < s.in_hw[1] {
                            let input = ((n * s.in_channels + o / co * ci + c) * s.in_hw[0] + iy) * s.in_hw[1] + ix;
                            let weight = ((o * ci + c) * s.kernel[0] + ky) * s.kernel[1] + kx;
                            f(((n * s.out_channels + o) * oh + y) * ow + x, input, weight);
                        }
                    }
                }
            }
        }
    }
}

/// A convolution with either kind of dtype.
fn check_convolution(s: &ConvShape, seed: u64) {
    for dtype in [ComputeDtype::Fp32, ComputeDtype::Bf16] {
        check_with_operands(&ConvShape { dtype, ..*s }, seed);
    }
}

/// Numbers as they are multiplied.
fn as_operands(dtype: ComputeDtype, numbers: &[f32]) -> Vec<f64> {
    let rounded = |&number: &f32| match dtype {
        ComputeDtype::Fp32 => f64::from(number),
        ComputeDtype::Bf16 => bf16::from_f32(number).to_f64(),
    };
    numbers.iter().map(rounded).collect()
}

fn check_with_operands(s: &ConvShape, seed: u64) {
    let rng = &mut rng(seed);
    let x = random(rng, s.input_len());
    let w = random(rng, s.weight_len());
    let dy = random(rng, s.output_len());
    let b = random(rng, s.out_channels);
    let old = random(rng, s.input_len());
    let area = s.out_hw()[0] * s.out_hw()[1];
    let mut y64 = vec![0f64; dy.len()];
    let mut dx64 = vec![0f64; x.len()];
    let mut dw64 = vec![0f64; w.len()];
    let [x64, w64, dy64] = [&x, &w, &dy].map(|numbers| as_operands(s.dtype, numbers));
    products(s, |o, i, k| {
        y64[o] += x64[i] * w64[k];
        dx64[i] += dy64[o] * w64[k];
        dw64[k] += dy64[o] * x64[i];
    });
    let depth = (s.weight_len() / s.out_channels) as f64;
    let what = format!("{s:?}");

    let mut y = vec![f32::NAN; dy.len()];
    conv::forward(s, &s.whole(&x), &w, Epilogue::None, &mut y);
    close(&format!("forward {what}"), &y, &y64, depth);
    let biased: Vec<f64> = y64.iter().enumerate().map(|(i, v)| v + f64::from(b[i / area % s.out_channels])).collect();
    conv::forward(s, &s.whole(&x), &w, Epilogue::Bias(&b), &mut y);
    close(&format!("bias {what}"), &y, &biased, depth);
    let silu: Vec<f64> = biased.iter().map(|v| v / (1.0 + (-v).exp())).collect();
    conv::forward(s, &s.whole(&x), &w, Epilogue::BiasSilu(&b), &mut y);
    close(&format!("silu {what}"), &y, &silu, depth);

    let outputs = (s.out_channels / s.groups * s.kernel[0] * s.kernel[1]) as f64;
    let mut dx = vec![f32::NAN; x.len()];
    conv::backward_data(s, &dy, &w, &mut dx, false);
    close(&format!("data gradient {what}"), &dx, &dx64, outputs);
    let mut dx = old.clone();
    conv::backward_data(s, &dy, &w, &mut dx, true);
    let sums: Vec<f64> = dx64.iter().zip(&old).map(|(d, o)| d + f64::from(*o)).collect();
    close(&format!("data gradient, added, {what}"), &dx, &sums, outputs);

    let count = (s.batch * area) as f64;
    let mut dw = vec![f32::NAN; w.len()];
    conv::backward_weight(s, &s.whole(&x), &dy, &mut dw);
    close(&format!("weight gradient {what}"), &dw, &dw64, count);
    let mut db = vec![f32::NAN; s.out_channels];
    conv::backward_bias(s, &dy, &mut db);
    let db64: Vec<f64> = (0..s.out_channels)
        .map(|c| (0..dy.len()).filter(|i| i / area.max(1) % s.out_channels == c).map(|i| f64::from(dy[i])).sum())
        .collect();
    close(&format!("bias gradient {what}"), &db, &db64, count);
}

fn shape(ci: usize, co: usize, hw: [usize; 2], k: usize, stride: usize, padding: usize) -> ConvShape {
    ConvShape {
        dtype: ComputeDtype::Fp32,
        batch: 2,
        in_channels: ci,
        out_channels: co,
        in_hw: hw,
        kernel: [k; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

#[test]
pub(super) fn convolutions_of_the_stock_models() {
    for (i, s) in [
        shape(3, 16, [32, 32], 6, 2, 2),
        shape(3, 16, [32, 32], 3, 2, 1),
        shape(16, 32, [20, 20], 3, 2, 1),
        shape(16, 16, [20, 20], 3, 1, 1),
        shape(32, 32, [20, 20], 1, 1, 0),
        shape(64, 64, [10, 10], 3, 1, 1),
        shape(64, 128, [10, 10], 3, 2, 1),
        shape(64, 255, [5, 5], 1, 1, 0),
    ]
    .iter()
    .enumerate()
    {
        check_convolution(s, i as u64);
    }
}

#[test]
pub(super) fn convolutions_of_odd_shapes() {
    for (i, s) in [
        shape(1, 1, [1, 1], 1, 1, 0),
        shape(3, 1, [1, 1], 3, 1, 1),
        shape(1, 13, [1, 7], 3, 2, 1),
        shape(13, 3, [7, 1], 3, 2, 1),
        shape(2, 5, [2, 3], 5, 1, 4),
        shape(2, 5, [2, 3], 3, 3, 7),
        shape(5, 7, [9, 8], 3, 2, 1),
        shape(5, 7, [8, 9], 3, 2, 0),
        shape(5, 7, [8, 9], 1, 2, 0),
        shape(5, 7, [6, 6], 1, 1, 2),
        shape(5, 7, [4, 4], 5, 1, 0),
        ConvShape { dilation: [2, 3], ..shape(3, 4, [11, 13], 3, 1, 2) },
        ConvShape { dilation: [3, 2], stride: [2, 3], ..shape(3, 4, [11, 13], 3, 1, 3) },
        ConvShape { kernel: [1, 7], padding: [0, 3], stride: [1, 2], ..shape(3, 4, [5, 13], 1, 1, 0) },
        ConvShape { groups: 8, ..shape(8, 8, [9, 10], 3, 1, 1) },
        ConvShape { groups: 8, ..shape(8, 16, [9, 10], 3, 2, 1) },
        ConvShape { groups: 3, ..shape(6, 15, [9, 10], 5, 2, 2) },
        ConvShape { batch: 1, ..shape(13, 17, [30, 31], 3, 1, 1) },
        ConvShape { batch: 5, ..shape(13, 17, [9, 9], 3, 1, 1) },
    ]
    .iter()
    .enumerate()
    {
        check_convolution(s, 100 + i as u64);
    }
}

#[test]
fn convolutions_of_random_shapes() {
    let rng = &mut rng(7);
    let mut checked = 0;
    while checked < 120 {
        let groups = pick(rng, &[1, 1, 1, 2, 3]);
        let mut two = |from: &[usize]| [pick(rng, from), pick(rng, from)];
        let (in_hw, kernel, stride, padding, dilation) = (
            two(&[1, 2, 3, 5, 8, 9, 12, 17, 26]),
            two(&[1, 2, 3, 3, 5, 6]),
            two(&[1, 1, 2, 3]),
            two(&[0, 1, 2, 4]),
            two(&[1, 1, 1, 2]),
        );
        let channels = [1, 2, 3, 4, 5, 8, 13, 16, 19];
        let s = ConvShape {
            batch: rng.random_range(1..4),
            in_channels: groups * pick(rng, &channels),
            out_channels: groups * pick(rng, &channels),
            in_hw,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            ..shape(1, 1, [1, 1], 1, 1, 0)
        };
        if s.output_len() > 0 {
            check_convolution(&s, checked);
            checked += 1;
        }
    }
}

#[test]
pub(super) fn convolutions_by_squares_of_outputs() {
    let rng = &mut rng(8);
    let mut large = 0;
    for i in 0..60 {
        let channels = [12, 13, 17, 33, 48, 70];
        let padding = [pick(rng, &[0, 1, 1, 2]), pick(rng, &[0, 1, 1, 2])];
        let s = ConvShape {
            batch: rng.random_range(1..4),
            in_channels: pick(rng, &channels),
            out_channels: pick(rng, &channels),
            in_hw: [pick(rng, &[3, 4, 7, 33, 34]), pick(rng, &[3, 5, 30, 31, 36])],
            padding,
            ..shape(1, 1, [1, 1], 3, 1, 0)
        };
        assert!(s.suits_winograd());
        large += usize::from(Size::of(&sizes(&s)) == Size::Four);
        check_convolution(&s, 200 + i);
    }
    assert!(large > 5 && large < 55, "{large} of 60 in squares of four");
}

/// The larger squares cancel more digits; with these points about three times those that the smaller ones lose.
#[test]
fn larger_squares_are_nearly_as_exact() {
    let rng = &mut rng(9);
    for channels in [32, 64, 128] {
        let s = ConvShape { batch: 1, ..shape(channels, channels, [32, 32], 3, 1, 1) };
        assert_eq!(Size::of(&sizes(&s)), Size::Four);
        let (x, w) = (random(rng, s.input_len()), random(rng, s.weight_len()));
        let mut y = vec![f32::NAN; s.output_len()];
        conv::forward(&s, &s.whole(&x), &w, Epilogue::None, &mut y);
        let mut exact = vec![0.0; y.len()];
        products(&s, |o, i, k| exact[o] += f64::from(x[i]) * f64::from(w[k]));
        let squares: f64 = y.iter().zip(&exact).map(|(y, exact)| (f64::from(*y) - exact).powi(2)).sum();
        // By the standard deviation of a sum of so many products of numbers between -1 and 1.
        let error = (squares / y.len() as f64).sqrt() / ((9 * channels) as f64).sqrt() * 3.0;
        assert!(error < 2e-6, "{channels} channels: {error:e}");
    }
}

#[test]
fn a_kernel_larger_than_the_padded_input_has_no_output_and_no_gradient() {
    let s = shape(2, 3, [2, 2], 5, 1, 0);
    assert_eq!(s.out_hw(), [0, 0]);
    let mut dx = vec![1.0; s.input_len()];
    conv::backward_data(&s, &[], &vec![1.0; s.weight_len()], &mut dx, false);
    assert!(dx.iter().all(|v| *v == 0.0));
    let mut dw = vec![1.0; s.weight_len()];
    conv::backward_weight(&s, &s.whole(&dx), &[], &mut dw);
    assert!(dw.iter().all(|v| *v == 0.0));
}

#[test]
fn threads_change_nothing() {
    let rng = &mut rng(3);
    // Strided and direct, by Winograd, 1×1, grouped; few channels and many, of one tile and of several.
    let shapes = [
        ConvShape { batch: 3, ..shape(13, 17, [31, 29], 3, 2, 1) },
        ConvShape { batch: 7, ..shape(24, 150, [14, 18], 3, 1, 1) },
        ConvShape { batch: 1, ..shape(32, 70, [20, 20], 3, 1, 1) },
        ConvShape { batch: 5, ..shape(40, 130, [9, 12], 1, 1, 0) },
        ConvShape { batch: 4, groups: 2, ..shape(12, 8, [10, 10], 3, 1, 1) },
        ConvShape { batch: 4, ..shape(64, 33, [3, 3], 1, 1, 0) },
        ConvShape { batch: 4, ..shape(16, 16, [12, 12], 3, 1, 1) },
        ConvShape { batch: 4, ..shape(3, 16, [96, 96], 6, 2, 2) },
        ConvShape { batch: 2, ..shape(128, 64, [6, 6], 3, 2, 1) },
        ConvShape { batch: 2, ..shape(64, 64, [12, 12], 3, 2, 1) },
        ConvShape { batch: 2, ..shape(64, 128, [24, 24], 3, 2, 1) },
        ConvShape { batch: 4, ..shape(128, 256, [3, 3], 3, 1, 1) },
        ConvShape { batch: 1, ..shape(256, 64, [7, 9], 1, 1, 0) },
        ConvShape { batch: 1, ..shape(64, 300, [40, 40], 1, 1, 0) },
        ConvShape { batch: 2, dtype: ComputeDtype::Bf16, ..shape(40, 200, [24, 26], 3, 1, 1) },
    ];
    for s in shapes {
        let (x, w, dy) = (random(rng, s.input_len()), random(rng, s.weight_len()), random(rng, s.output_len()));
        let bias = random(rng, s.groups * s.out_channels);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            pool.install(|| {
                let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
                conv::forward(&s, &s.whole(&x), &w, Epilogue::None, &mut y);
                conv::backward_data(&s, &dy, &w, &mut dx, false);
                let mut added = x.clone();
                conv::backward_data(&s, &dy, &w, &mut added, true);
                conv::backward_weight(&s, &s.whole(&x), &dy, &mut dw);
                let (packed, mut z) = (PackedWeight::new(&s, &w), vec![0.0; dy.len()]);
                conv::forward_packed(&s, &s.whole(&x), &packed, Epilogue::BiasSilu(&bias), &mut z);
                [y, z, dx, added, dw].map(|all| all.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            })
        };
        let one = run(1);
        for threads in [2, 3, 5, 12] {
            let other = run(threads);
            assert_eq!([0, 1, 2, 3, 4].map(|i| one[i] == other[i]), [true; 5], "{s:?} with {threads} threads");
        }
    }
}

#[test]
fn weights_packed_once_serve_any_image() {
    let rng = &mut rng(4);
    let s = ConvShape { groups: 2, ..shape(6, 14, [9, 10], 3, 2, 1) };
    let w = random(rng, s.weight_len());
    let packed = PackedWeight::new(&s, &w);
    for (batch, in_hw) in [(1, [5, 5]), (3, [8, 3])] {
        let s = ConvShape { batch, in_hw, ..s };
        let x = random(rng, s.input_len());
        let (mut y, mut z) = (vec![f32::NAN; s.output_len()], vec![f32::NAN; s.output_len()]);
        conv::forward(&s, &s.whole(&x), &w, Epilogue::None, &mut y);
        conv::forward_packed(&s, &s.whole(&x), &packed, Epilogue::None, &mut z);
        assert_eq!(y, z);
    }
}

#[test]
fn inputs_in_parts_give_what_they_give_in_one() {
    let rng = &mut rng(6);
    for dtype in [ComputeDtype::Fp32, ComputeDtype::Bf16] {
        for (channels, side, kernel, stride, groups) in
            [(8, 7, 1, 1, 1), (32, 9, 3, 1, 1), (10, 12, 3, 2, 2), (9, 6, 3, 1, 1)]
        {
            let s = ConvShape { dtype, batch: 3, groups, ..shape(channels, 16, [side; 2], kernel, stride, kernel / 2) };
            let (w, dy) = (random(rng, s.weight_len()), random(rng, s.output_len()));
            // Of the first buffer all but two channels, of the second the last one alone.
            let area = side * side;
            let [wide, narrow] = [channels + 1, 3].map(|channels| random(rng, 3 * channels * area));
            let parts = vec![
                Part { numbers: &wide, channels: channels + 1, taken: 2..channels + 1 },
                Part { numbers: &narrow, channels: 3, taken: 2..3 },
            ];
            let parts = Channels::new(parts, 3, area);
            let mut one = vec![f32::NAN; s.input_len()];
            parts.copy_to(&mut one);
            let run = |x: &Channels| {
                let (mut y, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; w.len()]);
                conv::forward(&s, x, &w, Epilogue::None, &mut y);
                conv::backward_weight(&s, x, &dy, &mut dw);
                (y, dw)
            };
            assert!(run(&parts) == run(&s.whole(&one)), "{s:?}");
        }
    }
}
