# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts use them
# What the scripts beside this file share: where things are, how background processes are started and ended.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cache=${BERTH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/berth}
state_dir=${BERTH_STATE_DIR:-/var/lib/berth}
run_dir=${BERTH_RUN_DIR:-/run/berth}
listen=${BERTH_LISTEN:-127.0.0.1:8080}
ipam_name=${BERTH_IPAM_NAME:-berth}
pools=${BERTH_POOLS:-$root/examples/pools.yaml}
socket=$run_dir/api.sock
token_file=$state_dir/api-token
consul_version=1.20.1
consul_binary=$cache/consul-$consul_version
zabbix_port=${BERTH_ZABBIX_PORT:-10060}
# Root's PATH lacks these in some shells, and dockerd and iptables are there.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export GOTOOLCHAIN=${GOTOOLCHAIN:-local}
# The client's verbs find the API by it.
export BERTH_API=${BERTH_API:-unix://$socket}

say() { printf '%s\n' "$*"; }
step() { printf '== %s\n' "$*"; }
warn() { printf '!! %s\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [[ $(id -u) == 0 ]]; }
need_root() { is_root || die "$1 needs root: networks, quotas and containers are the kernel's business (try: sudo make ${1##*/})"; }

# wait_for SECONDS COMMAND...: polls until the command succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || return 1
		sleep 0.1
	done
}

# --- background processes -------------------------------------------------------------------------------------------
# A process is known by <run-dir>/NAME.pid, which holds its id and the time it started: an id alone may be another's by now.

# start_time PID: nothing for one that is over and only waits for its parent to notice.
start_time() { sed 's/.*) //; /^[ZX] /d' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# running NAME: succeeds, and prints its process id, if the process we started is alive.
running() {
	local pid started
	[[ -r $run_dir/$1.started ]] || return 1
	read -r pid started <"$run_dir/$1.started" || return 1
	[[ -n $started && $(start_time "$pid") == "$started" ]] || return 1
	printf '%s\n' "$pid"
}

# launch NAME COMMAND...: starts it detached from this terminal, its output in <run-dir>/NAME.log.
launch() {
	local name=$1 pid
	shift
	mkdir -p "$run_dir"
	setsid "$@" </dev/null >>"$run_dir/$name.log" 2>&1 &
	pid=$!
	printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$run_dir/$name.started"
}

# end NAME SECONDS: ends the process that launch started; by force when the time is over.
end() {
	local pid
	pid=$(running "$1") || {
		rm -f "$run_dir/$1.started"
		return 0
	}
	kill -TERM "$pid" 2>/dev/null || true
	wait_for "$2" gone "$1" || {
		warn "$1 (process $pid) did not end within $2 s and is killed"
		kill -KILL "$pid" 2>/dev/null || true
		wait_for 5 gone "$1" || die "$1 (process $pid) cannot be ended"
	}
	rm -f "$run_dir/$1.started"
}
gone() { ! running "$1"; }

# log_tail NAME: the end of its log, for when something failed.
log_tail() {
	warn "the end of $run_dir/$1.log:"
	tail -n 15 "$run_dir/$1.log" >&2 || true
}

# --- Docker ---------------------------------------------------------------------------------------------------------

docker_answers() { have docker && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# start_docker makes sure that a Docker Engine answers, and starts one where none does. That one is down's to end.
start_docker() {
	if docker_answers; then
		[[ $(docker info --format '{{.LiveRestoreEnabled}}' 2>/dev/null) == true ]] ||
			warn 'this Docker Engine runs without live-restore: instances end when it restarts. To change that, put {"live-restore": true} into /etc/docker/daemon.json and reload it'
		return
	fi
	is_root || die 'no Docker Engine answers, and only root can start one'
	have dockerd || die 'no Docker Engine is installed (scripts/install-deps does that)'
	step 'Docker Engine: starting one with live-restore'
	mkdir -p "$run_dir"
	# What dockerd changes in the kernel and leaves behind when it ends.
	if [[ ! -e $run_dir/before-docker ]]; then
		{
			printf 'forward %s\n' "$(iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p')"
			printf 'ip_forward %s\n' "$(cat /proc/sys/net/ipv4/ip_forward)"
		} >"$run_dir/before-docker"
	fi
	mount_cgroups
	launch dockerd "$(command -v dockerd)" --live-restore --log-level warn
	wait_for 60 docker_answers || {
		log_tail dockerd
		die 'the Docker Engine does not answer'
	}
}

# cgroups_mounted: version 2, or version 1's controllers.
cgroups_mounted() { [[ -e /sys/fs/cgroup/cgroup.controllers ]] || mountpoint -q /sys/fs/cgroup/memory; }

# mount_cgroups: without systemd nobody may have mounted the control groups that dockerd needs.
mount_cgroups() {
	cgroups_mounted && return 0
	! have cgroupfs-mount || cgroupfs-mount || warn 'cgroupfs-mount failed'
}

# end_docker ends the Engine that up started, unless others have containers there by now.
end_docker() {
	running dockerd >/dev/null || return 0
	local others
	others=$(docker ps -aq | wc -l)
	if ((others > 0)); then
		warn "the Docker Engine that make up started keeps running: it has $others containers that are not Berth's"
		return
	fi
	step 'Docker Engine: ending the one that make up started'
	end dockerd 30
	clean_docker_host
}

# clean_docker_host undoes what dockerd did to the host's network.
clean_docker_host() {
	local table chain key value
	ip link delete docker0 2>/dev/null || true
	for table in nat filter; do
		iptables -t "$table" -S 2>/dev/null | grep -E '^-A (PREROUTING|OUTPUT|POSTROUTING|FORWARD) .*(-j DOCKER|docker0|-s 172\.17\.0\.0/16)' |
			sed 's/^-A/-D/' | while read -r rule; do
			# shellcheck disable=SC2086 # the rule's words
			iptables -t "$table" $rule 2>/dev/null || true
		done
		for chain in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2; do
			iptables -t "$table" -F "$chain" 2>/dev/null || true
		done
		for chain in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2; do
			iptables -t "$table" -X "$chain" 2>/dev/null || true
		done
	done
	[[ -r $run_dir/before-docker ]] || return 0
	while read -r key value; do
		case $key in
		forward) [[ -z $value ]] || iptables -P FORWARD "$value" ;;
		ip_forward) echo "$value" >/proc/sys/net/ipv4/ip_forward ;;
		esac
	done <"$run_dir/before-docker"
	rm -f "$run_dir/before-docker"
}

# our_containers: ids of the containers of this state folder's seats. Other Berths on the same Engine (tests have their
# own) mount their own seats.
our_containers() {
	docker_answers || return 0
	local id
	docker ps -aq --filter label=berth.schema | while read -r id; do
		docker inspect --format '{{range .Mounts}}{{println .Source}}{{end}}' "$id" 2>/dev/null | grep -qF "$state_dir/seats/" && echo "$id"
	done || true
}

# our_networks: names of Docker networks with our address driver.
our_networks() {
	docker_answers || return 0
	docker network ls -q | while read -r id; do
		docker network inspect --format '{{if eq .IPAM.Driver "'"$ipam_name"'"}}{{.Name}}{{end}}' "$id" 2>/dev/null
	done | sed '/^$/d'
}

# --- what is built --------------------------------------------------------------------------------------------------

need_go() {
	have go || PATH=$PATH:/usr/local/go/bin
	have go || die "Go is missing; version $(sed -n 's/^go //p' "$root/go.mod") or newer is needed: https://go.dev/doc/install"
}

build_programs() {
	need_go
	(cd "$root" && mkdir -p bin && for folder in cmd/*/; do
		go build -trimpath -o "bin/$(basename "$folder")" "./$folder" || exit 1
	done)
}

build_images() { "$root/images/build"; }

# build_consul builds the Consul server for tests and the demo, once for each version.
build_consul() {
	[[ -x $consul_binary ]] && return 0
	need_go
	step "Consul $consul_version: building it from source (5 to 10 minutes, once; kept in $cache)"
	mkdir -p "$cache"
	(cd "$root/tools/consul" && go build -trimpath -o "$cache/.consul-build" github.com/hashicorp/consul) || return 1
	mv "$cache/.consul-build" "$consul_binary"
}

# --- Berth ----------------------------------------------------------------------------------------------------------

berth() { "$root/bin/berth" "$@"; }
berth_answers() { curl -sf --max-time 2 --unix-socket "$socket" http://berth/ping >/dev/null; }
