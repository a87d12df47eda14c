//! Work that is killed goes on from its folder.
#![cfg(unix)]

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Prunes gradually into a folder, or goes on in it, and saves the model that it ends with.
const SCRIPT: &str = r#"
    let net = teacher();
    let data = shapes(#{ train: 16, val: 8, size: 64, seed: 1 });
    let options = if args[0] == "resume" { #{ resume: args[1] } } else {
        #{ folder: args[1], steps: 2, tune_epochs: 2, epochs: 2, recalibrate: 16, batch: 4, size: 64 }
    };
    let g = pruner(net, #{ macs: 0.6, size: 64, importance: "taylor", data: data, images: 8 }).gradual(data, options);
    g.model.save(args[2]);
    for row in g.steps { row.remove("seconds"); print(row); }
"#;

fn program(way: &str, folder: &Path, model: &Path) -> Command {
    let script = folder.with_extension("rhai");
    std::fs::write(&script, SCRIPT).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("espalier"));
    command.args(["--quiet", "--seed", "3"]).arg(script).arg(way).args([folder, model]).stderr(Stdio::inherit());
    command
}

#[test]
fn a_gradual_pruning_that_is_killed_goes_on_and_ends_equal() {
    let place = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| place.path().join(name));
    let model = |folder: &Path| folder.with_extension("safetensors");
    let undisturbed = program("begin", &whole, &model(&whole)).output().unwrap();
    assert!(undisturbed.status.success());
    let mut way = "begin";
    // Within the training of a step, between steps, and within the training at the end.
    for reached in ["step-1-run/checkpoint.safetensors", "step-1.safetensors", "final-run/checkpoint.safetensors"] {
        let mut child = program(way, &killed, &model(&killed)).stdout(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while !killed.join(reached).exists() {
            assert!(began.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(), "{reached}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "it had ended before it was killed at {reached}");
        way = "resume";
    }
    assert!(!model(&killed).exists());
    let resumed = program(way, &killed, &model(&killed)).output().unwrap();
    assert!(resumed.status.success());
    assert!(!undisturbed.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&resumed.stdout), String::from_utf8_lossy(&undisturbed.stdout));
    let tensors = |folder: &Path| {
        let model = espalier::io::load(model(folder)).unwrap();
        espalier::model::digest(model.tensors()).unwrap()
    };
    assert_eq!(tensors(&killed), tensors(&whole));
}

/// Sweeps into a folder, one shard of it, and prints the table of all that was done there.
const SWEEP: &str = r#"
    let net = yolo("yolov5n", #{ classes: 6, width: 0.1, depth: 0.1 });
    let data = shapes(#{ train: 16, val: 4, size: 64, seed: 1 });
    let s = sweep(#{ lr: [0.001, 0.01, 0.02], momentum: [0.8, 0.9] }, |o| {
        let how = #{ lr: o.lr, momentum: o.momentum, seed: o.seed, epochs: 3, batch: 4, size: 64, validate: false, folder: "" };
        #{ loss: net.fit(data, how).last.loss(data, #{ size: 64 }) }
    }, #{ seeds: 2, folder: args[0], shard: args[1] });
    print(s.table.json());
"#;

#[test]
fn a_sweep_that_is_killed_twice_in_two_shards_has_the_table_of_an_undisturbed_one() {
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("sweep.rhai");
    std::fs::write(&script, SWEEP).unwrap();
    let shard = |folder: &Path, shard: &str| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("espalier"));
        command.args(["--quiet", "--seed", "3"]).arg(&script).arg(folder).arg(shard).stderr(Stdio::inherit());
        command
    };
    let [whole, killed] = ["whole", "killed"].map(|name| place.path().join(name));
    let undisturbed = shard(&whole, "1/1").output().unwrap();
    assert!(undisturbed.status.success());
    let done = || {
        std::fs::read_dir(&killed).map_or(0, |folder| {
            folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run-")).count()
        })
    };
    for (at, enough) in [("1/2", 2), ("2/2", 4)] {
        let mut child = shard(&killed, at).stdout(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while done() < enough {
            assert!(began.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(), "{at}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "shard {at} had ended before it was killed");
    }
    let before = done();
    assert!((4..12).contains(&before), "{before} of 12 runs were done");
    // Both at once, in one folder.
    let mut other = shard(&killed, "1/2").stdout(Stdio::null()).spawn().unwrap();
    assert!(shard(&killed, "2/2").output().unwrap().status.success() && other.wait().unwrap().success());
    let resumed = shard(&killed, "1/1").output().unwrap();
    assert_eq!(done(), 12);
    assert!(!undisturbed.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&resumed.stdout), String::from_utf8_lossy(&undisturbed.stdout));
}
