# What the scripts of the test cluster share: where things lie, how to print, wait, enter and start. Sourced, never run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KFOPS_CACHE:-$HOME/.cache/kfops}/cluster
bin=$cache/bin              # programs, built from modules/
registry=$cache/registry    # images, as the cluster's registry keeps them
state=$cache/run            # the running cluster: `down` removes it
netns=kfops-cluster         # the node's network namespace
cgroup=kfops-cluster        # everything that runs is in this cgroup: `node` and `kubepods` below it
node=node1
node_ip=192.0.2.1 pod_cidr=10.244.0.0/24 service_cidr=10.96.0.0/16 dns_ip=10.96.0.10
api=https://$node_ip:6443
# A cluster that is there already (kind, a real Kubeflow), to be used instead: the file that leads to it.
given=${KFOPS_CLUSTER_KUBECONFIG:-}

PATH=$PATH:/usr/sbin:/sbin
export KFOPS_CLUSTER_STARTED=${KFOPS_CLUSTER_STARTED:-$(date +%s%N)}   # by the first script of a chain
# say TEXT...: a line with the seconds since the start.
say() { printf '%7.1f s  %s\n' "$(seconds_since "$KFOPS_CLUSTER_STARTED")" "$*"; }
seconds_since() { local ms=$(( ($(date +%s%N) - $1) / 1000000 )); printf '%d.%03d' $((ms / 1000)) $((ms % 1000)); }
fail() { echo "test cluster: $*" >&2; exit 1; }

# await SECONDS WHAT COMMAND...: until the command succeeds; fails when it has not within that time.
await() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "not within its deadline: $what; logs: $state/log"
    sleep 0.2
  done
}

# Only the network namespace is entered: `ip netns exec` would also mount /sys anew, without cgroups, and give each program
# mounts of its own, so that containerd would not see the volumes that kubelet mounts.
enter() { nsenter --net="/run/netns/$netns" -- "$@"; }
kubectl() {
  if [ -n "$given" ]; then command kubectl --kubeconfig "$given" "$@"; else enter "$bin/kubectl" --kubeconfig "$state/admin.conf" "$@"; fi
}
helm() {
  HELM_CACHE_HOME=$state/helm HELM_CONFIG_HOME=$state/helm HELM_DATA_HOME=$state/helm \
    enter "$bin/helm" --kubeconfig "$state/admin.conf" "$@"
}
apply() { kubectl apply --server-side --force-conflicts "$@" >/dev/null; }
containers() { ctr --address "$state/containerd.sock" --namespace k8s.io "$@"; }
rolled_out() { kubectl --namespace "$1" rollout status "$2" --timeout="${3:-120s}" >/dev/null || fail "$2 of $1 does not become ready"; }

# The hierarchy in which processes are counted: pids under cgroup v1, the one that there is under v2.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then processes=/sys/fs/cgroup; else processes=/sys/fs/cgroup/pids; fi

# A process is known by its id and the time of its start: ids are given again.
# One that has ended and that nobody has asked about yet (a zombie) has no time.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }
alive() {
  local id time
  [ -f "$state/pid/$1" ] && read -r id time <"$state/pid/$1" && [ -n "$time" ] && [ "$(start_time "$id")" = "$time" ]
}
# start NAME PROGRAM...: in the background, unless it runs: in the cgroup, its id kept before it does anything.
# NAME's log is $state/log/NAME.log. It goes on when whoever started it is gone. It goes before what else the machine does, compilers
# for instance: an API server that answers late fails everything.
start() {
  local name=$1
  shift
  ! alive "$name" || return 0
  # shellcheck disable=SC2016
  setsid bash -c '
    echo $$ >"$1"
    echo "$$ $(sed "s/.*) //" /proc/$$/stat | cut -d" " -f20)" >"$2"
    shift 2
    echo -10 2>/dev/null >/proc/self/autogroup || true
    exec "$@"' start "$processes/$cgroup/node/cgroup.procs" "$state/pid/$name" "$@" \
    >>"$state/log/$name.log" 2>&1 </dev/null 9>&- &
}
start_inside() { local name=$1; shift; start "$name" nsenter --net="/run/netns/$netns" -- "$@"; }
stop() {
  local id time
  if alive "$1"; then
    read -r id time <"$state/pid/$1"
    kill "${2:--TERM}" "$id" 2>/dev/null || true
    await 10 "the end of $1" not alive "$1"
  fi
  rm -f "$state/pid/$1"
}
not() { ! "$@"; }

# One at a time: up and down wait for each other.
exclusive() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock --wait 600 9 || fail "another up or down has been at work for ten minutes"
}
