//! A graph of the file, node by node.

use std::collections::HashMap;

use half::f16;

use super::proto::{
    Attribute, Dimension, ElementType, Extent, GraphProto, NodeProto, TensorProto, TensorShape, TensorType, TypeProto,
    ValueInfo, attribute_type,
};

/// A graph that grows. Values are known by their names; the name of a node is that of its value.
pub(super) struct Builder {
    graph: GraphProto,
    /// How real numbers are written.
    real: ElementType,
    /// Names of the constants by type, shape and numbers: equal ones are written once.
    constants: HashMap<(ElementType, Vec<i64>, Vec<u8>), String>,
}

/// An extent of an input or output: a number, or a name.
pub(super) fn extent(extent: Extent) -> Dimension {
    Dimension { extent: Some(extent) }
}

/// An attribute that is a whole number.
pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), kind: attribute_type::INT, ..Attribute::default() }
}

/// An attribute that is a real number.
pub(super) fn real(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(value), kind: attribute_type::FLOAT, ..Attribute::default() }
}

/// An attribute that is a word.
pub(super) fn word(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), s: Some(value.into()), kind: attribute_type::STRING, ..Attribute::default() }
}

/// An attribute that is several whole numbers.
pub(super) fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> Attribute {
    let ints = values.into_iter().map(|value| value as i64).collect();
    Attribute { name: name.into(), ints, kind: attribute_type::INTS, ..Attribute::default() }
}

impl Builder {
    /// An empty graph whose real numbers are written as `real`.
    pub(super) fn new(name: &str, real: ElementType) -> Self {
        Self { graph: GraphProto { name: name.into(), ..GraphProto::default() }, real, constants: HashMap::new() }
    }

    /// How weights and what follows are written.
    pub(super) fn real(&self) -> ElementType {
        self.real
    }

    /// The same for whatever is added from here on.
    pub(super) fn set_real(&mut self, real: ElementType) {
        self.real = real;
    }

    /// Adds a node with one output, which has the node's name.
    pub(super) fn node(&mut self, op: &str, name: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![name.into()],
            name: name.into(),
            op_type: op.into(),
            attribute,
            domain: String::new(),
        });
        name.into()
    }

    /// Adds a node that gives the largest numbers along an axis, descending, and their places: of equal ones the first.
    pub(super) fn top(&mut self, value: &str, count: i64, axis: i64, names: [&str; 2]) -> [String; 2] {
        let count = self.indices(&format!("{}.count", names[0]), &[count]);
        self.node("TopK", names[0], &[value, &count], vec![int("axis", axis), int("largest", 1), int("sorted", 1)]);
        if let Some(node) = self.graph.node.last_mut() {
            node.output.push(names[1].into());
        }
        names.map(str::to_owned)
    }

    /// Adds a weight under its own name.
    pub(super) fn weight(&mut self, name: &str, dims: &[usize], numbers: &[f32]) -> String {
        let raw_data = reals(self.real, numbers);
        self.initializer(name, self.real, dims, raw_data)
    }

    /// Real numbers; the name is that of the first constant which has them.
    pub(super) fn reals(&mut self, name: &str, dims: &[usize], numbers: &[f32]) -> String {
        self.constant(name, self.real, dims, reals(self.real, numbers))
    }

    /// Numbers of 32 bits, whatever the others are.
    pub(super) fn fp32(&mut self, name: &str, dims: &[usize], numbers: &[f32]) -> String {
        self.constant(name, ElementType::Float, dims, reals(ElementType::Float, numbers))
    }

    /// A line of whole numbers.
    pub(super) fn indices(&mut self, name: &str, numbers: &[i64]) -> String {
        let raw = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(name, ElementType::Int64, &[numbers.len()], raw)
    }

    /// One whole number without a dimension.
    pub(super) fn index(&mut self, name: &str, number: i64) -> String {
        self.constant(name, ElementType::Int64, &[], number.to_le_bytes().to_vec())
    }

    fn constant(&mut self, name: &str, kind: ElementType, dims: &[usize], raw: Vec<u8>) -> String {
        let key = (kind, dims.iter().map(|&dim| dim as i64).collect(), raw);
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        let taken = |name: &str| self.graph.initializer.iter().any(|tensor| tensor.name == name);
        let name = match taken(name) {
            false => name.to_owned(),
            true => format!("{name}.{}", self.graph.initializer.len()),
        };
        self.initializer(&name, kind, dims, key.2.clone());
        self.constants.insert(key, name.clone());
        name
    }

    fn initializer(&mut self, name: &str, kind: ElementType, dims: &[usize], raw_data: Vec<u8>) -> String {
        let dims = dims.iter().map(|&dim| dim as i64).collect();
        self.graph.initializer.push(TensorProto {
            dims,
            data_type: kind as i32,
            name: name.into(),
            raw_data: Some(raw_data),
            ..TensorProto::default()
        });
        name.into()
    }

    /// Declares an input.
    pub(super) fn input(&mut self, name: &str, kind: ElementType, dims: Vec<Dimension>) {
        self.graph.input.push(value(name, kind, dims));
    }

    /// Declares an output.
    pub(super) fn output(&mut self, name: &str, kind: ElementType, dims: Vec<Dimension>) {
        self.graph.output.push(value(name, kind, dims));
    }

    /// The graph.
    pub(super) fn finish(self) -> GraphProto {
        self.graph
    }
}

fn value(name: &str, kind: ElementType, dim: Vec<Dimension>) -> ValueInfo {
    let tensor = TensorType { elem_type: kind as i32, shape: Some(TensorShape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn reals(kind: ElementType, numbers: &[f32]) -> Vec<u8> {
    match kind {
        ElementType::Float16 => numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect(),
        ElementType::Float | ElementType::Int64 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    }
}
