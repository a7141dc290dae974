package unit

import "slices"

// reachedTargets are those of systemd.special(7) that stand for a state of the machine. A container has reached them before any of its services
// starts, whether or not it has files for them.
var reachedTargets = []string{
	"basic.target", "sysinit.target", "local-fs.target", "local-fs-pre.target", "remote-fs.target", "remote-fs-pre.target", "swap.target",
	"network.target", "network-pre.target", "network-online.target", "nss-lookup.target", "nss-user-lookup.target", "time-sync.target",
	"time-set.target", "rpcbind.target", "paths.target", "sockets.target", "slices.target", "timers.target", "cryptsetup.target",
	"first-boot-complete.target", "getty.target", "getty-pre.target", "veritysetup.target", "integritysetup.target",
}

// reached says whether a target is there without a file.
func reached(name string) bool {
	return slices.Contains(reachedTargets, name) || name == "multi-user.target" || name == "graphical.target"
}

// chain is how such targets hang together, so that what is enabled for any of them is found from the one that a container starts.
func chain(name string) (requires, wants []string) {
	switch name {
	case "graphical.target":
		return []string{"multi-user.target"}, nil
	case "multi-user.target":
		return []string{"basic.target"}, []string{"getty.target", "remote-fs.target", "network-online.target"}
	case "basic.target":
		return []string{"sysinit.target"}, []string{"sockets.target", "timers.target", "paths.target"}
	case "sysinit.target":
		return nil, []string{"local-fs.target", "swap.target"}
	}
	return nil, nil
}
