//! From pickled modules to the zoo's blocks. Widths come from the tensors, so pruned and custom networks read as well as
//! stock ones.

use std::collections::BTreeMap;

use super::{module::Module, pickle::Value, storage::TensorRef};
use crate::{
    graph::{Activation, BatchNorm, Conv, MaxPool},
    io::error::CheckpointError,
    zoo::{Block, Bottleneck, ConvBlock, Detect, Tower},
};

type Found<T> = Result<T, CheckpointError>;

/// Reads modules and keeps what their tensors are called.
#[derive(Default)]
pub(super) struct Reader {
    /// Tensors by their name in the state dict.
    pub tensors: BTreeMap<String, TensorRef>,
}

impl Reader {
    /// The block that a module of the detector's list is.
    pub fn block(&mut self, module: &Module) -> Found<Block> {
        match module.kind().as_str() {
            "Conv" | "DWConv" => Ok(Block::Conv(self.conv_block(module)?)),
            "Bottleneck" => Ok(Block::Bottleneck(self.bottleneck(module)?)),
            "C3" => {
                let [cv1, cv2, cv3, m] = module.parts(["cv1", "cv2", "cv3", "m"])?;
                let [cv1, cv2, cv3] = [(cv1, "cv1"), (cv2, "cv2"), (cv3, "cv3")].map(|(part, name)| module.need(part, name));
                let m = module.need(m, "m")?;
                Ok(Block::C3 {
                    cv1: self.conv_block(&cv1?)?,
                    cv2: self.conv_block(&cv2?)?,
                    cv3: self.conv_block(&cv3?)?,
                    m: self.bottlenecks(&m)?,
                })
            }
            "C2f" => {
                let [cv1, cv2, m] = module.parts(["cv1", "cv2", "m"])?;
                Ok(Block::C2f {
                    cv1: self.conv_block(&module.need(cv1, "cv1")?)?,
                    cv2: self.conv_block(&module.need(cv2, "cv2")?)?,
                    m: self.bottlenecks(&module.need(m, "m")?)?,
                })
            }
            "SPPF" => {
                let [cv1, cv2, m] = module.parts(["cv1", "cv2", "m"])?;
                Ok(Block::Sppf {
                    cv1: self.conv_block(&module.need(cv1, "cv1")?)?,
                    cv2: self.conv_block(&module.need(cv2, "cv2")?)?,
                    pool: pool(&module.need(m, "m")?)?,
                    times: pool_times(module)?,
                    add: module.flag("add", false)?,
                })
            }
            "Upsample" => upsample(module),
            "Concat" => match module.value("d") {
                Some(Value::Int(1)) => Ok(Block::Concat),
                _ => Err(module.fault("only concatenation along the channels (d = 1) is supported")),
            },
            "Detect" => self.detect(module).map(Block::Detect),
            kind if is_other_head(kind) => Err(module.fault(
                "this is no plain detection head; segmentation, pose, oriented boxes, classification and end-to-end heads are not supported",
            )),
            _ => Err(module.fault(
                "this kind of module is not known; known are Conv, DWConv, Bottleneck, C3, C2f, SPPF, Upsample, Concat and Detect",
            )),
        }
    }

    fn detect(&mut self, module: &Module) -> Found<Detect> {
        // YOLOv8's head can keep the places of its cells as `anchors`, so its towers tell it apart.
        if module.children()?.iter().all(|(name, _)| name != "cv2") {
            let [m] = module.parts(["m"])?;
            let levels = module.need(m, "m")?.sequence()?;
            let m = levels.iter().map(|level| self.conv(level)).collect::<Found<_>>()?;
            return Ok(Detect::Anchors { m });
        }
        let [cv2, cv3, _dfl] = module.parts(["cv2", "cv3", "dfl"])?;
        let mut towers = |part: Option<Module>, name| -> Found<Vec<Tower>> {
            let levels = module.need(part, name)?.sequence()?;
            levels.iter().map(|level| self.tower(level)).collect()
        };
        Ok(Detect::Distribution { cv2: towers(cv2, "cv2")?, cv3: towers(cv3, "cv3")? })
    }

    fn tower(&mut self, module: &Module) -> Found<Tower> {
        let mut parts = module.sequence()?;
        let last = parts.pop().ok_or_else(|| module.fault("it has no parts"))?;
        let blocks = parts.iter().map(|part| self.conv_block(part)).collect::<Found<_>>()?;
        Ok(Tower { blocks, last: self.conv(&last)? })
    }

    fn bottlenecks(&mut self, module: &Module) -> Found<Vec<Bottleneck>> {
        module.sequence()?.iter().map(|part| self.bottleneck(part)).collect()
    }

    fn bottleneck(&mut self, module: &Module) -> Found<Bottleneck> {
        if module.kind() != "Bottleneck" {
            return Err(module.fault("expected a Bottleneck"));
        }
        let [cv1, cv2] = module.parts(["cv1", "cv2"])?;
        Ok(Bottleneck {
            cv1: self.conv_block(&module.need(cv1, "cv1")?)?,
            cv2: self.conv_block(&module.need(cv2, "cv2")?)?,
            add: module.flag("add", false)?,
        })
    }

    fn conv_block(&mut self, module: &Module) -> Found<ConvBlock> {
        if !matches!(module.kind().as_str(), "Conv" | "DWConv") {
            return Err(module.fault("expected a Conv with its normalisation and activation"));
        }
        let [conv, norm, act] = module.parts(["conv", "bn", "act"])?;
        Ok(ConvBlock {
            conv: self.conv(&module.need(conv, "conv")?)?,
            norm: norm.map(|norm| self.norm(&norm)).transpose()?,
            activation: activation(&module.need(act, "act")?)?,
        })
    }

    fn conv(&mut self, module: &Module) -> Found<Conv> {
        if module.kind() != "Conv2d" {
            return Err(module.fault("expected a Conv2d"));
        }
        match module.value("padding_mode") {
            None => {}
            Some(Value::Text(mode)) if mode == "zeros" => {}
            Some(_) => return Err(module.fault("only padding with zeros is supported")),
        }
        let weight = self.keep(module, "weight")?;
        let [out_channels, in_per_group, height, width] = weight[..] else {
            return Err(module.fault(format!("its weight has shape {weight:?}; four dimensions are expected")));
        };
        let groups = module.int("groups")?;
        let in_channels = in_per_group.checked_mul(groups).ok_or_else(|| module.fault("it has too many groups"))?;
        let bias = module.tensor("bias")?.is_some();
        if bias {
            self.keep(module, "bias")?;
        }
        Ok(Conv {
            in_channels,
            out_channels,
            kernel: [height, width],
            stride: module.pair("stride")?,
            padding: module.pair("padding")?,
            dilation: module.pair("dilation")?,
            groups,
            bias,
        })
    }

    fn norm(&mut self, module: &Module) -> Found<BatchNorm> {
        if module.kind() != "BatchNorm2d" {
            return Err(module.fault("expected a BatchNorm2d"));
        }
        let shape = self.keep(module, "weight")?;
        for name in ["bias", "running_mean", "running_var"] {
            self.keep(module, name)?;
        }
        let [channels] = shape[..] else {
            return Err(module.fault(format!("its weight has shape {shape:?}; one dimension is expected")));
        };
        let [eps, momentum] = [module.float("eps")?, module.float("momentum")?];
        Ok(BatchNorm { channels, eps, momentum })
    }

    /// Keeps a tensor under its name in the state dict; gives its shape.
    fn keep(&mut self, module: &Module, name: &str) -> Found<Vec<usize>> {
        let tensor = module.need_tensor(name)?;
        let shape = tensor.shape.clone();
        self.tensors.insert(format!("{}.{name}", module.path), tensor);
        Ok(shape)
    }
}

fn activation(module: &Module) -> Found<Option<Activation>> {
    match module.kind().as_str() {
        "SiLU" => Ok(Some(Activation::Silu)),
        "ReLU" => Ok(Some(Activation::Relu)),
        "LeakyReLU" => Ok(Some(Activation::LeakyRelu { slope: module.float("negative_slope")? })),
        "Hardswish" => Ok(Some(Activation::Hardswish)),
        "Identity" => Ok(None),
        _ => Err(module.fault("this activation is not known; known are SiLU, ReLU, LeakyReLU, Hardswish and Identity")),
    }
}

fn pool(module: &Module) -> Found<MaxPool> {
    let [kernel, stride, padding, dilation] =
        ["kernel_size", "stride", "padding", "dilation"].map(|name| module.pair(name));
    let ([kernel, kw], [stride, sw], [padding, pw]) = (kernel?, stride?, padding?);
    let is_square = kernel == kw && stride == sw && padding == pw;
    let keeps_size = stride == 1 && kernel % 2 == 1 && padding == kernel / 2;
    if module.kind() != "MaxPool2d" || !is_square || !keeps_size || dilation? != [1, 1] || kernel > 255 {
        return Err(module.fault("expected a square, odd MaxPool2d that keeps the size"));
    }
    Ok(MaxPool { kernel, stride, padding })
}

fn pool_times(module: &Module) -> Found<usize> {
    match module.value("n") {
        None => Ok(3),
        Some(Value::Int(times @ 1..=16)) => Ok(*times as usize),
        Some(_) => Err(module.fault("its `n` is not from 1 to 16")),
    }
}

fn upsample(module: &Module) -> Found<Block> {
    let nearest = matches!(module.value("mode"), Some(Value::Text(mode)) if mode == "nearest");
    let scale = module.float("scale_factor")?;
    if !nearest || scale.fract() != 0.0 || !(1.0..=64.0).contains(&scale) {
        return Err(module.fault("only nearest-neighbour upsampling by a whole factor is supported"));
    }
    Ok(Block::Upsample { scale: scale as usize })
}

fn is_other_head(kind: &str) -> bool {
    ["Segment", "Pose", "OBB", "Classify", "Detect", "Decoder"].iter().any(|part| kind.contains(part))
}
