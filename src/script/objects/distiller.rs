//! Distillation in scripts.

use std::sync::LazyLock;

use rhai::plugin::*;
use rhai::{Array, Dynamic, Map};
use serde_json::{Value, json};

use super::fit::{fit_options, read_fit, with_curves};
use super::recorded::{LOSS, is_loss, record};
use super::result::ScriptResult;
use crate::data::Dataset;
use crate::distill::{DistillOptions, Distiller, TERMS};
use crate::model::Model;
use crate::options::{option_names, options};
use crate::report::{View, headline};
use crate::script::api::Api;
use crate::script::failure::{raise, raise_text};
use crate::script::object::Object;
use crate::script::options::{Given, OptionSet};
use crate::script::state::State;
use crate::train::Run;

pub fn bind(api: &mut Api) {
    api.object::<Distiller>().options(&DISTILLER).options(&FIT).options(&LABEL);
    api.functions(exported_manifest!(functions));
}

static DISTILLER: LazyLock<OptionSet> =
    LazyLock::new(|| distill_options(OptionSet::function("distiller").group::<TeacherOptions>()));

/// Who teaches where a call has no teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TeacherKind {
    #[default]
    Given,
    Ema,
}
option_names!(TeacherKind, "teacher": Given = "given", Ema = "ema");

options! {
    struct TeacherOptions {
        /// Who teaches: the model or models before the student in the call, or ("ema", with the student alone) the student as the
        /// average of its weights up to the present step; no term, and no balance, then counts that is not given.
        pub teacher: TeacherKind = TeacherKind::Given;
    }
}

/// How a student is taught.
pub fn distill_options(set: OptionSet) -> OptionSet {
    let loss = "A loss of your own between features: |t, s| mean((t - s) * (t - s)); called once, and recorded";
    set.custom("loss", LOSS, is_loss, loss).group::<DistillOptions>()
}

/// How a student is to be taught.
pub fn read_distill(context: &NativeCallContext, given: &Given) -> ScriptResult<DistillOptions> {
    let mut options: DistillOptions = given.group();
    if let Some(loss) = given.value("loss") {
        options.terms = record(context, loss, options.terms)?;
    }
    Ok(options)
}

static FIT: LazyLock<OptionSet> = LazyLock::new(|| fit_options(OptionSet::method::<Distiller>("fit"), "runs/distill"));

static LABEL: LazyLock<OptionSet> = LazyLock::new(|| OptionSet::method::<Distiller>("label").group::<LabelOptions>());

options! {
    struct LabelOptions {
        /// Side of the square that images are fitted into for the teacher, in pixels; `fit` takes its own.
        pub size: usize = 320, 32..=8192;
    }
}

impl Object for Distiller {
    const NAME: &'static str = "Distiller";

    fn show(&self, _: View) -> String {
        let options = self.options().shown();
        let teachers = match self.teachers() {
            [] => "teacher  the student's own average\n".to_owned(),
            teachers => teachers.iter().map(|teacher| format!("teacher  {}\n", headline(teacher))).collect(),
        };
        format!("{teachers}student  {}\n{}", headline(self.student()), options.join(" · "))
    }

    fn json(&self) -> Value {
        let teacher = match self.teachers() {
            [] => json!(TeacherKind::Ema.name()),
            [one] => one.json(),
            several => several.iter().map(Object::json).collect(),
        };
        json!({ "teacher": teacher, "student": self.student().json(), "options": self.options() })
    }
}

fn pair(context: &NativeCallContext, teachers: &[Model], student: &Model, options: Map) -> ScriptResult<Distiller> {
    let given = DISTILLER.read(options, State::of(context).seed())?;
    let options = read_distill(context, &given)?;
    let made = match (given.group::<TeacherOptions>().teacher, teachers) {
        (TeacherKind::Given, teachers) => Distiller::of_several(teachers, student, options),
        (TeacherKind::Ema, []) => Distiller::of_own_average(student, as_given(options, &given)),
        (TeacherKind::Ema, _) => {
            return Err(given.wrong("teacher", "\"given\", for there is a teacher before the student"));
        }
    };
    made.map_err(raise)
}

/// Without the terms and the balance that nobody asked for: an average is no better than what it is of, and at first so near
/// to it that shares measured then come to far more.
fn as_given(options: DistillOptions, given: &Given) -> DistillOptions {
    let unasked = TERMS.iter().filter(|term| given.value(term.name).is_none());
    let terms = unasked.fold(options.terms, |terms, term| terms.with(term.name, 0.0));
    let balance = given.value("balance").map_or(0.0, |_| options.balance);
    DistillOptions { terms, balance, ..options }
}

#[export_module(manifest)]
mod functions {
    /// Pairs a teacher with a student of the same classes: `.fit(data)` trains the student with the detection loss and
    /// to imitate the teacher.
    #[rhai_fn(return_raw)]
    pub fn distiller(
        context: NativeCallContext,
        teacher: Model,
        student: Model,
        options: Map,
    ) -> ScriptResult<Distiller> {
        pair(&context, &[teacher], &student, options)
    }

    /// The same with several teachers, an array of them: their outputs are averaged, class by class over those who know a
    /// class of that name; features are compared with the first's.
    #[rhai_fn(name = "distiller", return_raw)]
    pub fn distiller_of_several(
        context: NativeCallContext,
        teachers: Array,
        student: Model,
        options: Map,
    ) -> ScriptResult<Distiller> {
        let as_model = |value: Dynamic| {
            let kind = value.type_name();
            let wrong = || raise_text(format!("distiller takes a teacher or an array of them; this one holds {kind}"));
            value.try_cast::<Model>().ok_or_else(wrong)
        };
        let teachers: Vec<Model> = teachers.into_iter().map(as_model).collect::<ScriptResult<_>>()?;
        pair(&context, &teachers, &student, options)
    }

    /// The same without a teacher: with `teacher: "ema"`, and terms, the student learns from the average of its weights.
    #[rhai_fn(name = "distiller", return_raw)]
    pub fn distiller_of_average(context: NativeCallContext, student: Model, options: Map) -> ScriptResult<Distiller> {
        pair(&context, &[], &student, options)
    }

    /// The dataset as the student is trained with it: with `labels: "teacher"` or `"both"` the teacher's boxes are in it, to be
    /// looked at with `.summary()` and `.show(path)`. `fit` makes them itself.
    #[rhai_fn(name = "label", pure, return_raw)]
    pub fn distiller_label(
        context: NativeCallContext,
        distiller: &mut Distiller,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Dataset> {
        let state = State::of(&context);
        let options: LabelOptions = LABEL.read(options, state.seed())?.group();
        distiller.label(&data, options.size, state.progress.as_ref()).map_err(raise)
    }

    /// Trains the student on a dataset's split train and validates it on val after each epoch; every term is in the
    /// progress and in `results.csv`. Ctrl-C ends the run after the current batch and gives what there is.
    #[rhai_fn(name = "fit", pure, return_raw)]
    pub fn distiller_fit(
        context: NativeCallContext,
        distiller: &mut Distiller,
        data: Dataset,
        options: Map,
    ) -> ScriptResult<Run> {
        let state = State::of(&context);
        let options = read_fit(&FIT.read(options, state.seed())?, distiller.student())?;
        with_curves(distiller.fit(&data, &options, state.progress.as_ref()).map_err(raise)?, distiller.student())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::tiny_detector;

    #[test]
    fn an_own_average_teaches_by_what_is_given_alone() {
        let map = Map::from([("teacher".into(), "ema".into()), ("logits".into(), 0.5.into())]);
        let given = DISTILLER.read(map, 0).unwrap();
        let options = as_given(given.group(), &given);
        assert_eq!((options.terms.of("logits"), options.terms.of("cwd"), options.balance), (0.5, 0.0, 0.0));
        let distiller = Distiller::of_own_average(&tiny_detector(2), options).unwrap();
        assert!(distiller.show(View { width: None, styled: false }).starts_with("teacher  the student's own average"));
        assert_eq!(distiller.json()["teacher"], "ema");
    }

    #[test]
    fn all_that_decides_it_is_shown() {
        let (net, options) = (tiny_detector(2), DistillOptions { cwd_temperature: 7.5, ..DistillOptions::default() });
        let text = Distiller::new(&net, &net, options).unwrap().show(View { width: None, styled: false });
        for option in ["logits 1.0", "boxes 1.0", "cwd 1.0", "balance 1.0", "temperature 2", "cwd_temperature 7.5"] {
            assert!(text.contains(option), "{text}");
        }
        assert!(!text.contains("rkd"), "{text}");
    }
}
