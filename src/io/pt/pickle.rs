//! Reads a pickle as data. Classes and functions that it names stay names, and the calls that it asks for are recorded,
//! never made.
//!
//! Existing readers resolve to tensors and drop the module tree's own attributes, or copy every object that the pickle
//! mentions twice. Here objects live in one arena and are mentioned by place, as Python does: memory stays proportional
//! to the file however its references nest, and nothing recurses.

use std::collections::HashMap;

use thiserror::Error;

/// An object's place in a [`Pickle`].
pub(super) type Ref = usize;

/// A Python object, as far as data goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Ref>),
    /// Also sets.
    List(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// A class or function, by name only.
    Global {
        module: String,
        name: String,
    },
    /// An instance, or the result of a call that was not made.
    Object {
        class: Ref,
        args: Ref,
        state: Option<Ref>,
        items: Vec<(Ref, Ref)>,
    },
    /// Data outside the pickle, such as a tensor's storage.
    Persistent(Ref),
}

/// A pickle's objects.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Ref,
}

/// Where and why a pickle cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the pickle is broken at byte {offset}: {reason}")]
pub(super) struct PickleError {
    pub offset: usize,
    pub reason: String,
}

impl Pickle {
    /// Parses a pickle of protocol 2 to 5.
    pub fn parse(bytes: &[u8]) -> Result<Self, PickleError> {
        let mut machine = Machine { bytes, ..Machine::default() };
        match machine.run() {
            Ok(root) => Ok(Self { values: machine.values, root }),
            Err(reason) => Err(PickleError { offset: machine.at, reason }),
        }
    }

    /// The object that was pickled.
    pub fn root(&self) -> Ref {
        self.root
    }

    pub fn get(&self, at: Ref) -> &Value {
        &self.values[at]
    }

    /// Every object, in the order in which they begin.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// The stack machine of CPython's `pickle`, on places in an arena.
#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    memo: HashMap<u32, Ref>,
}

type Step<T> = Result<T, String>;

impl Machine<'_> {
    fn run(&mut self) -> Step<Ref> {
        loop {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Step<()> {
        match code {
            0x80 => match self.byte()? {
                2..=5 => {}
                version => return Err(format!("protocol {version}; protocols 2 to 5 are known")),
            },
            0x95 => drop(self.take::<8>()?),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' | b'M' | b'J' | 0x8a | b'G' => return self.number(code),
            b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | b'U' | b'T' => return self.text(code),
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'(' => self.marks.push(self.stack.len()),
            b't' | b'l' | 0x91 | b'd' => return self.collect(code),
            0x85..=0x87 => {
                let len = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(len).filter(|&start| start >= self.floor());
                let items = self.stack.split_off(start.ok_or("too few objects for a tuple")?);
                self.push(Value::Tuple(items));
            }
            b'a' | b'e' | 0x90 | b's' | b'u' => return self.fill(code),
            b'q' | b'r' | 0x94 | b'h' | b'j' => return self.remember(code),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.peek()?;
                self.stack.push(top);
            }
            b'c' | 0x93 => return self.global(code),
            b'R' | 0x81 | 0x92 | b'b' => return self.object(code),
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            _ => return Err(format!("operation 0x{code:02x} is not known")),
        }
        Ok(())
    }

    fn number(&mut self, code: u8) -> Step<()> {
        let value = match code {
            b'K' => Value::Int(i64::from(self.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.take()?))),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.take()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.take()?)),
            _ => {
                let len = usize::from(self.byte()?);
                let bytes = self.slice(len)?;
                match bytes.last() {
                    _ if len > 8 => Value::Bytes(bytes.to_vec()),
                    None => Value::Int(0),
                    Some(&top) => {
                        let mut wide = if top & 0x80 == 0 { [0; 8] } else { [0xff; 8] };
                        wide[..len].copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                }
            }
        };
        self.push(value);
        Ok(())
    }

    fn text(&mut self, code: u8) -> Step<()> {
        let len = match code {
            0x8c | b'C' | b'U' => u64::from(self.byte()?),
            b'X' | b'B' | b'T' => u64::from(u32::from_le_bytes(self.take()?)),
            _ => u64::from_le_bytes(self.take()?),
        };
        let len = usize::try_from(len).map_err(|_| format!("a text of {len} bytes"))?;
        let bytes = self.slice(len)?;
        let value = match code {
            b'X' | 0x8c | 0x8d => {
                Value::Text(std::str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")?.to_owned())
            }
            _ => Value::Bytes(bytes.to_vec()),
        };
        self.push(value);
        Ok(())
    }

    fn collect(&mut self, code: u8) -> Step<()> {
        let items = self.pop_to_mark()?;
        let value = match code {
            b't' => Value::Tuple(items),
            b'd' => Value::Dict(pairs(&items)?),
            _ => Value::List(items),
        };
        self.push(value);
        Ok(())
    }

    /// Puts objects into the list, dictionary or instance below them.
    fn fill(&mut self, code: u8) -> Step<()> {
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let target = self.peek()?;
        match (code, &mut self.values[target]) {
            (b'a' | b'e' | 0x90, Value::List(list)) => list.extend(items),
            (b's' | b'u', Value::Dict(known) | Value::Object { items: known, .. }) => known.extend(pairs(&items)?),
            // A subclass of list: its elements are nothing that a detector needs.
            (b'a' | b'e', Value::Object { .. }) => {}
            _ => return Err("items for something that holds none".into()),
        }
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Step<()> {
        let key = match code {
            b'q' | b'h' => u32::from(self.byte()?),
            b'r' | b'j' => u32::from_le_bytes(self.take()?),
            _ => u32::try_from(self.memo.len()).map_err(|_| "too many remembered objects")?,
        };
        if matches!(code, b'h' | b'j') {
            let found = *self.memo.get(&key).ok_or_else(|| format!("object {key} is recalled, but never kept"))?;
            self.stack.push(found);
        } else {
            let top = self.peek()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn global(&mut self, code: u8) -> Step<()> {
        let value = if code == b'c' {
            Value::Global { module: self.line()?, name: self.line()? }
        } else {
            let [name, module] = [self.pop()?, self.pop()?];
            match (&self.values[module], &self.values[name]) {
                // Copied for each mention, so bounded.
                (Value::Text(module), Value::Text(name)) if module.len() + name.len() <= 1000 => {
                    Value::Global { module: module.clone(), name: name.clone() }
                }
                _ => return Err("a class whose name is no text, or a long one".into()),
            }
        };
        self.push(value);
        Ok(())
    }

    fn object(&mut self, code: u8) -> Step<()> {
        if code == b'b' {
            let new_state = self.pop()?;
            let target = self.peek()?;
            return match &mut self.values[target] {
                Value::Object { state, .. } => {
                    *state = Some(new_state);
                    Ok(())
                }
                _ => Err("a state for something that is no instance".into()),
            };
        }
        if code == 0x92 {
            self.pop()?; // keyword arguments
        }
        let [args, class] = [self.pop()?, self.pop()?];
        self.push(Value::Object { class, args, state: None, items: Vec::new() });
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Objects below the last mark are out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Ref> {
        let top = self.peek()?;
        self.stack.pop();
        Ok(top)
    }

    fn peek(&self) -> Step<Ref> {
        let reachable = self.stack.get(self.floor()..).unwrap_or_default();
        reachable.last().copied().ok_or_else(|| "its stack is empty".into())
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Ref>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn slice(&mut self, len: usize) -> Step<&[u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| format!("{len} bytes are said to follow, {} do", rest.len()))?;
        self.at += len;
        Ok(taken)
    }

    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.slice(N)?);
        Ok(bytes)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take::<1>()?[0])
    }

    fn line(&mut self) -> Step<String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or("a name without an end")?;
        let line = std::str::from_utf8(self.slice(len)?).map_err(|_| "a name that is not UTF-8")?.to_owned();
        self.at += 1;
        Ok(line)
    }
}

fn pairs(items: &[Ref]) -> Step<Vec<(Ref, Ref)>> {
    if items.len() % 2 == 1 {
        return Err("a dictionary with a key but no value".into());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
