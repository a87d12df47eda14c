//! Comparisons of outputs: gradients, normalisation, classes, places.

use super::*;

const SOFT: Divergence = Divergence::Softened { temperature: 2.0 };

const COMPARED: [Compared; 3] = [
    Compared::Scores { objectness: 0.7, classes: 0.4, by: SOFT },
    Compared::Scores { objectness: 0.7, classes: 0.4, by: Divergence::Quality { beta: 1.0 } },
    Compared::Boxes { weight: 1.3, temperature: 1.5 },
];

fn heads(detector: &Detector, compared: Compared) -> Heads {
    let classes = detector.classes.len();
    let same = (0..classes).map(Some).collect();
    Heads { detector: detector.clone(), teacher_classes: classes, classes: same, compared, places: Where::Everywhere }
}

/// One box in the second image.
fn targets() -> Vec<Target> {
    let bounds = crate::boxes::Centred { cx: 0.5, cy: 0.5, w: 0.4, h: 0.9 };
    vec![Target { image: 1, truth: crate::boxes::Truth { class: 0, bounds } }]
}

fn wave(len: usize, phase: f32) -> Vec<f32> {
    (0..len).map(|i| 2.0 * (i as f32 * 0.7 + phase).sin()).collect()
}

/// The value and its gradient, for maps of these planes and places in a batch of two.
fn run(heads: &Heads, sizes: &[(usize, usize)], student: &[Vec<f32>]) -> (f64, Vec<Vec<f32>>) {
    let teacher: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 0.2)).collect();
    let maps = teacher.iter().zip(sizes).map(|(numbers, &(_, places))| Map { numbers, size: [1, places] });
    let maps: Vec<Map> = maps.collect();
    let targets = targets();
    let comparison = Comparison::new(heads, 2, &maps, &targets);
    let mut gradients: Vec<Vec<f32>> = student.iter().map(|map| vec![0.0; map.len()]).collect();
    let concerned = (0..student.len()).filter(|&map| comparison.concerns(map));
    let value = concerned.map(|map| comparison.add(map, &student[map], &mut gradients[map])).sum();
    (value, gradients)
}

fn check(heads: &Heads, sizes: &[(usize, usize)]) {
    let student: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 1.1)).collect();
    let (value, gradients) = run(heads, sizes, &student);
    assert!(value > 0.0);
    for map in 0..student.len() {
        for index in (0..student[map].len()).step_by(7) {
            let shifted = |delta: f32| {
                let mut student = student.clone();
                student[map][index] += delta;
                2.0 * run(heads, sizes, &student).0
            };
            let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            let analytic = f64::from(gradients[map][index]);
            assert!((numeric - analytic).abs() < 2e-3 * numeric.abs().max(0.05), "{map} {index}: {numeric} {analytic}");
        }
    }
    let teacher: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 0.2)).collect();
    let (value, gradients) = run(heads, sizes, &teacher);
    assert!(value.abs() < 1e-5, "{value}");
    assert!(gradients.iter().flatten().all(|number| number.abs() < 1e-5));
}

#[test]
fn gradients_of_both_heads_match_finite_differences() {
    for (compared, places) in COMPARED.into_iter().flat_map(|compared| Where::ALL.map(|places| (compared, places))) {
        check(&Heads { places, ..heads(&anchors(2), compared) }, &[(14, 6), (14, 2)]);
        let sides = |reg_max| Detector::new(anchors(2).classes, vec![8, 16], Head::Distribution { reg_max });
        check(&Heads { places, ..heads(&sides(4), compared) }, &[(16, 6), (2, 6), (16, 3), (2, 3)]);
        check(&Heads { places, ..heads(&sides(1), compared) }, &[(4, 6), (2, 6), (4, 3), (2, 3)]);
    }
}

fn anchors(levels: usize) -> Detector {
    let head = Head::Anchors { anchors: vec![vec![[1.0, 1.0]; 2]; levels] };
    let strides = (0..levels).map(|level| 8 << level).collect();
    Detector::new(["a", "b"].map(String::from).to_vec(), strides, head)
}

/// The levels' objectness counts as in the detection loss, however many there are.
#[test]
fn levels_count_as_in_the_detection_loss() {
    let compared = Compared::Scores { objectness: 1.0, classes: 0.0, by: Divergence::Softened { temperature: 1.0 } };
    for (levels, expected) in [(2, vec![4.0, 1.0]), (3, vec![4.0, 1.0, 0.4]), (4, vec![4.0, 1.0, 0.25, 0.06])] {
        // All levels have the same numbers, so only their weights tell them apart.
        let (sizes, student) = (vec![(14, 2); levels], vec![wave(2 * 14 * 2, 1.1); levels]);
        let (_, gradients) = run(&heads(&anchors(levels), compared), &sizes, &student);
        let size = |gradient: &Vec<f32>| gradient.iter().map(|number| number.abs()).sum::<f32>();
        let found: Vec<f32> = gradients.iter().map(|gradient| 4.0 * size(gradient) / size(&gradients[0])).collect();
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(found.iter().zip(&expected).all(near), "{found:?} against {expected:?}");
    }
}

/// What is compared between classes in another order, one of which the teacher does not know, is what is compared between
/// those that both have.
#[test]
fn classes_are_matched_by_name() {
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let compared = Compared::Scores { objectness: 0.0, classes: 1.0, by: SOFT };
    let own = Detector::new(names(&["c", "a", "b"]), vec![8], Head::Distribution { reg_max: 4 });
    let (teacher, places) = (wave(2 * 2 * 5, 0.2), 5);
    let student = wave(2 * 3 * 5, 1.1);
    let sides = wave(2 * 16 * 5, 0.4);
    let maps = [Map { numbers: &sides, size: [1, 5] }, Map { numbers: &teacher, size: [1, 5] }];
    // The teacher has a, b.
    let classes = vec![None, Some(0), Some(1)];
    let matched = Heads { detector: own, teacher_classes: 2, classes, compared, places: Where::Everywhere };
    let mut gradient = vec![0.0; student.len()];
    let value = Comparison::new(&matched, 2, &maps, &[]).add(1, &student, &mut gradient);
    let common: Vec<f32> = student.chunks_exact(3 * places).flat_map(|image| image[places..].to_vec()).collect();
    let same = heads(&Detector::new(names(&["a", "b"]), vec![8], Head::Distribution { reg_max: 4 }), compared);
    let mut of_common = vec![0.0; common.len()];
    let expected = Comparison::new(&same, 2, &maps, &[]).add(1, &common, &mut of_common);
    assert_eq!(value, expected);
    for (image, of_common) in gradient.chunks_exact(3 * places).zip(of_common.chunks_exact(2 * places)) {
        assert!(image[..places].iter().all(|slope| *slope == 0.0));
        assert_eq!(&image[places..], of_common);
    }
}

/// By hand: one anchor of one class in a row of two places, one of them in a box.
#[test]
fn places_count_as_asked() {
    let head = Head::Anchors { anchors: vec![vec![[1.0, 1.0]]] };
    let detector = Detector::new(vec!["a".into()], vec![8], head);
    let teacher: Vec<f32> = (0..6).flat_map(|plane| [0.3 * plane as f32, -0.2 * plane as f32]).collect();
    let student = vec![0.5f32; 12];
    let divergence = |plane: usize, place: usize| {
        let sigmoid = |logit: f32| 1.0 / (1.0 + (-f64::from(logit)).exp());
        let (p, q) = (sigmoid(teacher[2 * plane + place]), sigmoid(0.5));
        p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln()
    };
    let confident = [1.2f64, -0.8].map(|logit| 1.0 / (1.0 + (-logit).exp()));
    let bounds = crate::boxes::Centred { cx: 0.75, cy: 0.5, w: 0.1, h: 0.1 };
    let target = Target { image: 0, truth: crate::boxes::Truth { class: 0, bounds } };
    for (places, counts) in
        [(Where::Confident, confident), (Where::Positives, [0.0, 1.0]), (Where::Everywhere, [1.0, 1.0])]
    {
        let by = Divergence::Softened { temperature: 1.0 };
        let compared = Compared::Scores { objectness: 1.0, classes: 0.5, by };
        let total: f64 = counts.iter().sum::<f64>().max(1.0);
        let weighted =
            |plane: usize, counts: [f64; 2]| (0..2).map(|at| counts[at] * divergence(plane, at)).sum::<f64>();
        // The balance of the finest of one level is 4.
        let expected = (4.0 * weighted(4, counts) + 0.5 * weighted(5, counts)) / total;
        let maps = [Map { numbers: &teacher, size: [1, 2] }];
        let heads = Heads { places, ..heads(&detector, compared) };
        let value = Comparison::new(&heads, 1, &maps, &[target]).add(0, &student, &mut [0.0; 12]);
        assert!((value - expected).abs() < 1e-6, "{places:?}: {value} against {expected}");
    }
}
