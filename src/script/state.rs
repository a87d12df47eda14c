//! What native functions know of the session that calls them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::Device;
use rhai::{Dynamic, Engine, NativeCallContext};

use super::catalog::Catalog;
use super::interrupt::Interrupt;
use super::object::Objects;
use super::options::OptionSet;
use crate::progress::Progress;
use crate::report::View;

/// What native functions need to know of the session that calls them; it travels as the engine's tag.
pub struct State {
    /// The types that scripts handle.
    pub objects: Objects,
    /// Every declared option set.
    pub options: Vec<&'static OptionSet>,
    /// What can be called.
    pub catalog: Catalog,
    /// Listens to long work.
    pub progress: Arc<dyn Progress>,
    /// Whether the user asked to stop.
    pub interrupt: Interrupt,
    /// Where values are shown.
    pub output: Output,
    device: Mutex<Device>,
    seed: Mutex<u64>,
    exit: AtomicI64,
    another: OnceLock<MakeEngine>,
}

/// Makes an engine that starts with a device and a seed.
type MakeEngine = Box<dyn Fn(Device, u64) -> Engine + Send + Sync>;

/// No exit asked for.
const NO_EXIT: i64 = i64::MIN;

impl State {
    /// The state of a new session.
    pub fn new(
        (objects, options, catalog): (Objects, Vec<&'static OptionSet>, Catalog),
        progress: Arc<dyn Progress>,
        interrupt: Interrupt,
        output: Output,
        (device, seed): (Device, u64),
    ) -> Self {
        Self {
            objects,
            options,
            catalog,
            progress,
            interrupt,
            output,
            device: Mutex::new(device),
            seed: Mutex::new(seed),
            exit: AtomicI64::new(NO_EXIT),
            another: OnceLock::new(),
        }
    }

    /// The state of the session in which a function is called.
    pub fn of(context: &NativeCallContext) -> Arc<Self> {
        let tag = context.tag().and_then(|tag| tag.clone().try_cast::<Arc<Self>>());
        tag.expect("every engine is built with its state as the tag")
    }

    /// Says how to make another engine.
    pub fn set_engine(&self, make: impl Fn(Device, u64) -> Engine + Send + Sync + 'static) {
        // The first is as good as any other.
        let _ = self.another.set(Box::new(make));
    }

    /// Another engine like the session's, for functions of scripts that are called when the session's is not at hand.
    pub fn engine(&self) -> Engine {
        let make = self.another.get().expect("every engine says how to make another");
        make(self.device(), self.seed())
    }

    /// The device on which models are loaded and built.
    pub fn device(&self) -> Device {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the device.
    pub fn set_device(&self, device: Device) {
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = device;
    }

    /// The seed of whatever is random.
    pub fn seed(&self) -> u64 {
        *self.seed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the seed.
    pub fn set_seed(&self, seed: u64) {
        *self.seed.lock().unwrap_or_else(PoisonError::into_inner) = seed;
    }

    /// Asks the program to end with this code.
    pub fn request_exit(&self, code: i32) {
        self.exit.store(code.into(), Ordering::SeqCst);
    }

    /// The code with which the program was asked to end, once.
    pub fn take_exit(&self) -> Option<i32> {
        i32::try_from(self.exit.swap(NO_EXIT, Ordering::SeqCst)).ok()
    }

    /// A value as it is printed: for people, or as a line of JSON.
    pub fn text(&self, value: &Dynamic) -> String {
        match self.output.json {
            true => self.objects.json(value).to_string(),
            false => self.objects.show(value, self.output.view()),
        }
    }
}

/// Where values are shown, and how.
#[derive(Clone)]
pub struct Output {
    /// As lines of JSON instead of text.
    pub json: bool,
    /// Whether it is a terminal: then tables fit its width.
    pub terminal: bool,
    /// Whether escape sequences are welcome.
    pub styled: bool,
    sink: Arc<Mutex<dyn Write + Send>>,
}

impl Output {
    /// Output to a writer.
    pub fn new(sink: impl Write + Send + 'static, json: bool, terminal: bool, styled: bool) -> Self {
        Self { json, terminal, styled, sink: Arc::new(Mutex::new(sink)) }
    }

    /// The present width and style.
    pub fn view(&self) -> View {
        View { width: self.terminal.then(crate::report::terminal_width).flatten(), styled: self.styled }
    }

    /// Writes a line. A reader that has gone away (`| head`) is no error: nobody is left to be told.
    pub fn line(&self, text: &str) -> io::Result<()> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        match writeln!(sink, "{text}").and_then(|()| sink.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}
