#!/usr/bin/env bash
# Holds a sweep as a Slurm job array to the same sweep in one process: 12 runs in 4 tasks, one task cancelled and submitted again.
# Sets up a Slurm of this machine alone with Debian's packages (slurmctld, slurmd, munge), as root; says plainly where it cannot.
#
#     scripts/check_slurm.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${1:-target/release/espalier}")
skip() { echo "SKIPPED: sweeps through Slurm: $*"; exit 0; }

[ "$(id -u)" = 0 ] || skip "setting up a Slurm of this machine needs root"
if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
    command -v apt-get >/dev/null || skip "slurmctld, slurmd and munge are not installed, and there is no apt-get"
    (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge) \
        >/dev/null 2>&1 || skip "slurmctld, slurmd and munge cannot be installed"
fi

work=$(mktemp -d)
export SLURM_CONF=$work/slurm.conf
host=$(hostname -s)
cat >"$SLURM_CONF" <<CONF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
mkdir -p "$work/state" "$work/spool"
chmod 755 "$work"
stop() {
    for daemon in slurmd slurmctld munged; do
        pid=$(cat "$work/$daemon.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        # A daemon still writes its state while it ends.
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$work" || { sleep 2; rm -rf "$work"; } || true
}
trap stop EXIT
fail() { echo "FAILED: sweeps through Slurm: $*"; tail -n 20 "$work"/*.log "$work"/*.out 2>/dev/null || true; exit 1; }

dd if=/dev/urandom of="$work/munge.key" bs=64 count=1 status=none
chmod 400 "$work/munge.key"
munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munged.log" --seed-file="$work/munged.seed" || skip "munge does not start here"
slurmctld || skip "slurmctld does not start here"
slurmd || skip "slurmd does not start here: $(tail -n 2 "$work/slurmd.log")"
for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && break
    sleep 0.5
done
[ "$(sinfo --noheader --format=%t)" = idle ] || fail "the node is not ready: $(sinfo)"

cat >"$work/sweep.rhai" <<'RHAI'
let net = yolo("yolov5n", #{ classes: 6, width: 0.1, depth: 0.1 });
let data = shapes(#{ train: 16, val: 4, size: 64, seed: 1 });
let s = sweep(#{ lr: [0.001, 0.01, 0.02], momentum: [0.8, 0.9] }, |o| {
    let how = #{ lr: o.lr, momentum: o.momentum, seed: o.seed, epochs: 3, batch: 4, size: 64, validate: false, folder: "" };
    #{ loss: net.fit(data, how).last.loss(data, #{ size: 64 }) }
}, #{ seeds: 2, folder: args[0], shard: args[1] });
print(s.table.json());
RHAI
"$program" --quiet --threads 1 "$work/sweep.rhai" "$work/alone" 1/1 >"$work/alone.out"

submit() {
    ESPALIER=$program sbatch --parsable --wait --array="$1" --cpus-per-task=1 --output="$work/task-%a.out" \
        scripts/sweep.slurm --quiet "$work/sweep.rhai" "$work/array" slurm
}
# All but the last task of four; then all four, the first three of which find their runs done.
ESPALIER=$program sbatch --parsable --hold --array=1-4 --cpus-per-task=1 --output="$work/task-%a.out" \
    scripts/sweep.slurm --quiet "$work/sweep.rhai" "$work/array" slurm >"$work/id"
scancel "$(cat "$work/id")_4"
scontrol release "$(cat "$work/id")"
for _ in $(seq 240); do
    [ -z "$(squeue --noheader)" ] && break
    sleep 0.5
done
found=$(find "$work/array" -name 'run-*.json' | wc -l)
[ "$found" = 9 ] || fail "three of four tasks made $found of 12 runs, not 9"
submit 1-4 >/dev/null || fail "a task of the array failed"
"$program" --quiet --threads 1 "$work/sweep.rhai" "$work/array" 1/1 >"$work/array.out"
cmp "$work/alone.out" "$work/array.out" || fail "the tables differ"
echo "sweeps through Slurm $(slurmd -V | cut -d' ' -f2): 12 runs in 4 tasks, one of them cancelled and submitted again: the table of one process"
