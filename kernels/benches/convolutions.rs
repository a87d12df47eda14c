//! Convolution kernels over the layers of YOLOv5n and YOLOv8n at 320 px, batch 16: GFLOP/s forward and both backwards,
//! in fp32 and, where the processor has it, in bf16.
//!
//! `cargo bench -p espalier-kernels -- "3x3 64"` measures those whose name contains the argument.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use espalier_kernels::conv::{self, ConvShape, Epilogue};
use espalier_kernels::dtype::ComputeDtype;
use std::hint::black_box;

/// Kernel, stride, input channels, output channels, input height and width.
const LAYERS: [[usize; 5]; 13] = [
    [6, 2, 3, 16, 320],
    [3, 2, 3, 16, 320],
    [3, 2, 16, 32, 160],
    [3, 1, 16, 16, 80],
    [1, 1, 32, 32, 80],
    [3, 2, 32, 64, 80],
    [3, 1, 32, 32, 40],
    [3, 1, 64, 64, 40],
    [1, 1, 64, 64, 40],
    [3, 2, 64, 128, 40],
    [3, 1, 128, 128, 20],
    [3, 1, 256, 256, 10],
    [1, 1, 256, 256, 10],
];

fn layers(c: &mut Criterion) {
    let dtype = [ComputeDtype::Fp32, ComputeDtype::Bf16].into_iter().filter(|dtype| dtype.is_native());
    for (dtype, [kernel, stride, inputs, outputs, size]) in dtype.flat_map(|o| LAYERS.map(|layer| (o, layer))) {
        let s = ConvShape {
            dtype,
            batch: 16,
            in_channels: inputs,
            out_channels: outputs,
            in_hw: [size; 2],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [(kernel - 1) / 2; 2],
            dilation: [1; 2],
            groups: 1,
        };
        let fill = |len: usize| (0..len).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect::<Vec<f32>>();
        let (mut x, mut w, mut y) = (fill(s.input_len()), fill(s.weight_len()), fill(s.output_len()));
        let layer = format!("{kernel}x{kernel} {inputs}>{outputs} /{stride} @{size} {dtype:?}");
        let mut group = c.benchmark_group(layer);
        group.sample_size(10).throughput(Throughput::Elements(2 * s.macs() as u64));
        group.bench_function("forward", |b| {
            b.iter(|| conv::forward(&s, black_box(&s.whole(&x)), &w, Epilogue::None, &mut y))
        });
        group.bench_function("backward data", |b| b.iter(|| conv::backward_data(&s, black_box(&y), &w, &mut x, false)));
        group.bench_function("backward weight", |b| {
            b.iter(|| conv::backward_weight(&s, black_box(&s.whole(&x)), &y, &mut w))
        });
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
