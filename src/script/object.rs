//! Types of values that scripts handle, and how values are shown.

use std::any::TypeId;
use std::collections::HashMap;

use rhai::Dynamic;
use serde_json::{Map, Value};

use crate::report::View;

/// A type of values that scripts handle: its name, and how it is shown to people and to programs.
pub trait Object: Clone + Send + Sync + 'static {
    /// The type's name in scripts.
    const NAME: &'static str;

    /// The value for people.
    fn show(&self, view: View) -> String;

    /// The value for programs.
    fn json(&self) -> Value;
}

/// The registered types and how each is shown.
#[derive(Debug, Default)]
pub struct Objects {
    by_type: HashMap<TypeId, Registered>,
}

#[derive(Debug)]
struct Registered {
    name: &'static str,
    show: fn(&Dynamic, View) -> String,
    json: fn(&Dynamic) -> Value,
}

impl Objects {
    /// Adds a type.
    pub fn add<T: Object>(&mut self) {
        let show = |value: &Dynamic, view| value.read_lock::<T>().map_or_else(String::new, |object| object.show(view));
        let json = |value: &Dynamic| value.read_lock::<T>().map_or(Value::Null, |object| object.json());
        self.by_type.insert(TypeId::of::<T>(), Registered { name: T::NAME, show, json });
    }

    /// The name of a registered type.
    pub fn name(&self, id: TypeId) -> Option<&'static str> {
        self.by_type.get(&id).map(|entry| entry.name)
    }

    /// The registered type of this name.
    pub fn id(&self, name: &str) -> Option<TypeId> {
        self.by_type.iter().find(|(_, entry)| entry.name == name).map(|(id, _)| *id)
    }

    /// A value for people. Strings inside arrays and maps are quoted, on their own they aren't.
    pub fn show(&self, value: &Dynamic, view: View) -> String {
        if let Some(entry) = self.by_type.get(&value.type_id()) {
            return (entry.show)(value, view);
        }
        match value.read_lock::<rhai::ImmutableString>() {
            Some(text) => text.to_string(),
            None => self.nested(value, view),
        }
    }

    /// A value for programs. What JSON has no word for becomes the string it is shown as.
    pub fn json(&self, value: &Dynamic) -> Value {
        if let Some(entry) = self.by_type.get(&value.type_id()) {
            return (entry.json)(value);
        }
        if let Some(items) = value.read_lock::<rhai::Array>() {
            return items.iter().map(|item| self.json(item)).collect();
        }
        if let Some(map) = value.read_lock::<rhai::Map>() {
            return Value::Object(
                map.iter().map(|(key, item)| (key.to_string(), self.json(item))).collect::<Map<_, _>>(),
            );
        }
        if let Ok(number) = value.as_int() {
            return number.into();
        }
        if let Ok(number) = value.as_float() {
            return number.into();
        }
        if let Ok(flag) = value.as_bool() {
            return flag.into();
        }
        if value.is_unit() {
            return Value::Null;
        }
        self.show(value, View::default()).into()
    }

    fn nested(&self, value: &Dynamic, view: View) -> String {
        if self.by_type.contains_key(&value.type_id()) {
            return self.show(value, view);
        }
        if let Some(items) = value.read_lock::<rhai::Array>() {
            let items: Vec<String> = items.iter().map(|item| self.nested(item, view)).collect();
            let separator = if items.iter().any(|item| item.contains('\n')) { ",\n" } else { ", " };
            return format!("[{}]", items.join(separator));
        }
        if let Some(map) = value.read_lock::<rhai::Map>() {
            let items: Vec<String> =
                map.iter().map(|(key, item)| format!("{key}: {}", self.nested(item, view))).collect();
            return format!("#{{{}}}", items.join(", "));
        }
        short_text(value)
    }
}

/// A plain value as it would be written in a script; of anything else, the type.
pub fn short_text(value: &Dynamic) -> String {
    if let Some(text) = value.read_lock::<rhai::ImmutableString>() {
        return format!("{:?}", text.as_str());
    }
    if let Some(items) = value.read_lock::<rhai::Array>() {
        let items: Vec<String> = items.iter().map(short_text).collect();
        return format!("[{}]", items.join(", "));
    }
    if value.is_unit() {
        return "()".into();
    }
    if let Ok(number) = value.as_float() {
        return format!("{number:?}");
    }
    if value.is_int() || value.is_bool() || value.is_char() || value.is_fnptr() {
        return value.to_string();
    }
    if value.is_map() {
        return "an object map".into();
    }
    format!("a {}", value.type_name().rsplit("::").next().unwrap_or("value"))
}
