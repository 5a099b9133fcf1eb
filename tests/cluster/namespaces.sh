# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Nodes of this machine, for scripts that source this file inside namespaces of
# network, mounts, host name and process ids of their own. A node is a network
# namespace with an interface on a common bridge; what is started there through
# the agent has a host name, shared memory and IPC of its own.
#
# Set before: folder (private), nodes (how many), rate (Mbit/s, 0 = no limit).

# ip and tc are in a folder that not every user's path has.
export PATH=$PATH:/usr/sbin:/sbin
bridge=10.77.0.254

# Why this machine cannot have such nodes; nothing if it can.
namespaces_refusal() {
    if [[ $(id -u) != 0 ]]; then
        echo "namespaces need root"
    elif ! command -v ip >/dev/null; then
        echo "no ip command (package iproute2)"
    elif ! unshare --net --mount --uts --pid --fork true 2>/dev/null; then
        echo "no namespaces on this machine"
    elif ! unshare --net ip link add name probe type bridge 2>/dev/null; then
        echo "no bridges on this machine"
    fi
}

make_nodes() {
    mkdir -p /run/netns
    mount -t tmpfs cascade /run/netns
    hostname hub
    ip link set lo up
    ip link add hub type bridge
    ip addr add "$bridge/24" dev hub
    ip link set hub up
    printf '127.0.0.1 localhost\n%s hub\n' "$bridge" >"$folder/hosts"
    local number
    for ((number = 1; number <= nodes; number++)); do
        make_node "node$number" "10.77.0.$number"
    done
    mount --bind "$folder/hosts" /etc/hosts
}

make_node() { # name address
    ip netns add "$1"
    ip link add "to$1" type veth peer name eth0 netns "$1"
    ip link set "to$1" master hub up
    ip -n "$1" addr add "$2/24" dev eth0
    ip -n "$1" link set lo up
    ip -n "$1" link set eth0 up
    if ((rate > 0)); then
        ip netns exec "$1" tc qdisc add dev eth0 root tbf rate "${rate}mbit" \
            burst 256kb latency 50ms
    fi
    printf '%s %s\n' "$2" "$1" >>"$folder/hosts"
}

# What launchers take for ssh: drops its options, enters the node.
write_agent() {
    cat >"$folder/agent" <<'AGENT'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do
    case $1 in
    -o | -l | -p | -i) shift 2 ;;
    *) shift ;;
    esac
done
node=$1
shift
exec nsenter --net="/run/netns/$node" unshare --uts --ipc --mount \
    sh -c 'mount -t tmpfs cascade /dev/shm && hostname "$0" && eval "exec $*"' \
    "$node" "$@"
AGENT
    chmod +x "$folder/agent"
}
